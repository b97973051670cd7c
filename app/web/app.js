/*
 * The chat page: one module, no dependencies, no build.
 *
 * Text of answers and documents is untrusted: it reaches the page through text nodes only, never
 * as HTML, and a link only when it is http(s). The parts, in order: the event stream, the API,
 * who is signed in, Markdown, the passage panel, one turn, and the page around them.
 */

const MAX_MESSAGE_CHARS = 8000;
const COUNTER_FROM = 7000;
const FOLLOW_WITHIN_PX = 80;
const MARK_FROM_TOP_PX = 64;
const EXAMPLES = [
  "What React projects are there?",
  "Which project reduced checkout time?",
  "¿Qué proyectos usan Python?",
  "Compare the Python and React projects",
];

/* ---- Event stream ---------------------------------------------------------------------------- */

/** Incremental decoder of server-sent events: bytes in any split, `{id, data}` out. */
export class EventDecoder {
  #utf8 = new TextDecoder();
  #rest = "";
  #id = null;
  #data = [];

  *push(bytes) {
    const text = this.#rest + this.#utf8.decode(bytes, { stream: true });
    let from = 0;
    for (const match of text.matchAll(/\r\n|\r|\n/g)) {
      // A lone CR at the very end may be the first half of a CRLF: wait for what follows.
      if (match[0] === "\r" && match.index === text.length - 1) break;
      const event = this.#line(text.slice(from, match.index));
      from = match.index + match[0].length;
      if (event) yield event;
    }
    this.#rest = text.slice(from);
  }

  #line(line) {
    if (line === "") {
      const event = this.#data.length ? { id: this.#id, data: this.#data.join("\n") } : null;
      this.#data = [];
      return event;
    }
    const [, name, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
    if (name === "data") this.#data.push(value ?? "");
    if (name === "id") this.#id = value ?? "";
    return null;
  }
}

/* ---- API ------------------------------------------------------------------------------------- */

/** A failure in words a person can act on. */
class Failure extends Error {
  constructor(message, { code = "", retryable = true } = {}) {
    super(message);
    this.code = code;
    this.retryable = retryable;
  }
}

async function failureOf(response) {
  let problem = {};
  try {
    problem = await response.json();
  } catch {
    // A proxy's HTML page: the status alone has to do.
  }
  const said = problem.detail ?? problem.message ?? problem.title;
  return new Failure(
    typeof said === "string" && said ? said : `The server answered with status ${response.status}.`,
    { code: problem.code, retryable: response.status >= 500 || [408, 429].includes(response.status) },
  );
}

async function send(path, body, signal, method) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET" && session?.csrf_token) headers["X-CSRF-Token"] = session.csrf_token;
  try {
    return await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      cache: "no-store",
      credentials: "same-origin",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The server could not be reached.");
  }
}

async function call(path, body, signal, method = body === undefined ? "GET" : "POST") {
  let response = await send(path, body, signal, method);
  if (response.status === 403 && method !== "GET" && session?.csrf_token) {
    // Another tab may have signed in since: the browser has one cookie for both.
    const former = session;
    const now = await readSession();
    if (now.subject !== former.subject) {
      page.entered().then(() => page.trouble(`${nameOf(now)} has signed in in another tab.`));
      throw new Failure("Somebody else has signed in.", { retryable: false });
    }
    if (now.csrf_token !== former.csrf_token) response = await send(path, body, signal, method);
  }
  if (!response.ok) throw await failureOf(response);
  return response;
}

async function listAgents() {
  const { items } = await (await call("/api/agents")).json();
  return items;
}

/** Yields the contract's events; throws a Failure unless exactly one `done` or `error` came. */
async function* ask(agent, body, signal) {
  if (!agent) throw new Failure("There is no agent to answer.");
  let response;
  try {
    response = await call(`/api/agents/${agent}/chat/stream`, body, signal);
  } catch (error) {
    if (error.code !== "feature_disabled") throw error;
    const whole = await (await call(`/api/agents/${agent}/chat`, body, signal)).json();
    yield* [
      { ...whole, type: "start" },
      { type: "token", content: whole.answer },
      { ...whole, type: "done" },
    ];
    return;
  }
  const decoder = new EventDecoder();
  const reader = response.body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      for (const { data } of decoder.push(value)) {
        const event = JSON.parse(data);
        yield event;
        if (event.type === "done" || event.type === "error") return;
      }
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The connection was lost before the answer was complete.");
  } finally {
    reader.cancel().catch(() => {});
  }
  throw new Failure("The connection ended before the answer was complete.");
}

/* ---- Who is signed in ------------------------------------------------------------------------ */

// As the server describes it. The cookie itself is kept from scripts, and nothing is kept here
// beyond the page.
let session = null;

const nameOf = ({ name, subject }) => name ?? subject;

async function readSession() {
  session = await (await call("/api/session")).json();
  return session;
}

async function signIn(credential) {
  session = null;
  await call("/api/session", { credential });
  try {
    await readSession();
  } catch (error) {
    if (error.code !== "unauthorized") throw error;
    throw new Failure("The browser has not kept the session: open this page by its https address.");
  }
}

async function signOut() {
  try {
    await call("/api/session", undefined, undefined, "DELETE");
  } catch (error) {
    if (error.code !== "unauthorized") throw error;
  }
  session = null;
}

/* ---- DOM and Markdown ------------------------------------------------------------------------ */

const $ = (id) => document.getElementById(id);

/** An element with properties and children; strings become text nodes. */
function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null));
  return element;
}

/** A link that says where it leads, whatever its text says; null unless it is http(s). */
function safeLink(address, ...children) {
  const url = URL.canParse(address) ? new URL(address) : null;
  if (!url || !["http:", "https:"].includes(url.protocol)) return null;
  if (url.username || url.password) return null; // "https://bank.example@elsewhere.example/"
  return h("a", { href: url.href, rel: "noopener noreferrer", target: "_blank" },
    h("bdi", {}, ...children), " ", h("span", { className: "host" }, `(${url.host})`));
}

// Every repetition is bounded or excludes its own opener, so hostile text costs linear time.
const INLINE = new RegExp(
  [
    "`(?<code>[^`\\n]+)`",
    "\\*\\*(?<strong>[^*\\n]+(?:\\*[^*\\n]+)*)\\*\\*",
    "\\*(?<em>[^*\\s](?:[^*\\n]{0,300}[^*\\s])?)\\*",
    "\\[(?<label>[^\\[\\]\\n]{1,300})\\]\\((?<href>[^()\\s]{1,1000})\\)",
    "\\[(?<cited>\\d{1,3}(?:, ?\\d{1,3}){0,20})\\]",
  ].join("|"),
  "g",
);

/** Inline Markdown as nodes. `cite(n)` gives the node for a citation, or null for plain text. */
function inline(text, cite) {
  const nodes = [];
  let from = 0;
  for (const match of text.matchAll(INLINE)) {
    const { code, strong, em, label, href, cited } = match.groups;
    let node = null;
    if (code !== undefined) node = h("code", {}, code);
    else if (strong !== undefined) node = h("strong", {}, inline(strong, cite));
    else if (em !== undefined) node = h("em", {}, inline(em, cite));
    else if (label !== undefined) node = safeLink(href, inline(label, () => null));
    else {
      const buttons = cited.split(",").map((number) => cite(Number(number)));
      if (buttons.every(Boolean)) node = buttons;
    }
    if (node === null) continue;
    nodes.push(text.slice(from, match.index), node);
    from = match.index + match[0].length;
  }
  nodes.push(text.slice(from));
  return nodes.flat().filter((node) => node !== "");
}

const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const ITEM = /^(\s*)(?:[-*+]|(\d{1,9})[.)])\s+(.*)$/;
const HEADING = /^ {0,3}#{1,6}\s+(.*)$/;
const ALIGNED = /^(:?)-+(:?)$/;

/** The cells of a table's row: what stands between its pipes, but for those behind a backslash. */
function cellsOf(line) {
  const cells = line.trim().split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
  if (cells[0] === "") cells.shift();
  if (cells.at(-1) === "") cells.pop();
  return cells;
}

/** Whether the line makes the one before it the head of a table. */
function makesTable(line, before) {
  if (!line.includes("|") || !line.includes("-")) return false;
  const cells = cellsOf(line);
  return cells.every((cell) => ALIGNED.test(cell)) && cells.length === cellsOf(before).length;
}

const lastLine = (text) => text.slice(text.lastIndexOf("\n") + 1);

/** Splits Markdown into blocks `{kind, text}`; an unfinished block at the end is a block too. */
export function blocksOf(markdown) {
  const blocks = [];
  let open = null;
  let fence = null;
  const start = (kind, line) => blocks.push((open = { kind, text: line }));
  for (const line of markdown.replace(/\r\n?/g, "\n").split("\n")) {
    if (fence) {
      if (line.trimEnd().trimStart() === fence) fence = open = null;
      else open.text = open.text === null ? line : `${open.text}\n${line}`;
    } else if (FENCE.test(line)) {
      fence = FENCE.exec(line)[1];
      start("code", null);
    } else if (line.trim() === "") open = null;
    else if (HEADING.test(line)) {
      start("heading", line);
      open = null;
    } else if (open?.kind === "paragraph" && makesTable(line, lastLine(open.text))) {
      const head = lastLine(open.text);
      open.text = open.text.slice(0, -head.length - 1);
      if (!open.text) blocks.pop();
      start("table", `${head}\n${line}`);
    } else if (ITEM.test(line) && open?.kind !== "list") start("list", line);
    else if (open) open.text += `\n${line}`;
    else start("paragraph", line);
  }
  return blocks;
}

function listOf(text, cite) {
  const root = { indent: -1, list: null, item: h("div") };
  const stack = [root];
  for (const line of text.split("\n")) {
    const match = ITEM.exec(line);
    const top = stack.at(-1);
    if (!match) {
      top.item.append(" ", ...inline(line.trim(), cite));
      continue;
    }
    const [, { length: indent }, number, content] = match;
    while (stack.length > 1 && stack.at(-1).indent > indent) stack.pop();
    if (stack.at(-1).indent < indent && stack.length < 6) stack.push({ indent, list: null });
    const level = stack.at(-1);
    const tag = number === undefined ? "UL" : "OL";
    if (level.list?.tagName !== tag) {
      level.list = h(tag, number === undefined ? {} : { start: Number(number) });
      stack.at(-2).item.append(level.list);
    }
    level.item = h("li", {}, inline(content, cite));
    level.list.append(level.item);
  }
  return [...root.item.childNodes];
}

/** A table in a box that scrolls by itself where it is too wide. A row has no cells that were not
 * written: an invented one for each column would make a text of n characters a table of n². */
function tableOf(text, cite) {
  const [head, rule, ...rows] = text.split("\n").map(cellsOf);
  const sides = rule.map((cell) => {
    const [, left, right] = ALIGNED.exec(cell);
    return right ? (left ? "center" : "end") : "start";
  });
  const row = (tag, cells) =>
    h("tr", {}, cells.slice(0, rule.length).map((cell, n) =>
      h(tag, { className: sides[n] }, inline(cell, cite))));
  return h("div", { className: "table", tabIndex: 0 },
    h("table", {},
      h("thead", {}, row("th", head)),
      h("tbody", {}, rows.map((cells) => row("td", cells)))));
}

function blockNodes({ kind, text }, cite) {
  if (kind === "code") return [h("pre", { tabIndex: 0 }, h("code", {}, text ?? ""))];
  if (kind === "list") return listOf(text, cite);
  if (kind === "table") return [tableOf(text, cite)];
  if (kind === "heading") return [h("h3", {}, inline(HEADING.exec(text)[1], cite))];
  const lines = text.split("\n").map((line, n) => [n ? h("br") : null, ...inline(line, cite)]);
  return [h("p", {}, lines.flat())];
}

/** Renders growing Markdown into an element, replacing only the blocks that changed. */
class Prose {
  #drawn = [];

  constructor(element, cite) {
    this.element = element;
    this.cite = cite;
  }

  draw(markdown) {
    const blocks = blocksOf(markdown);
    const same = blocks.findIndex(({ kind, text }, n) => {
      const drawn = this.#drawn[n];
      return drawn?.kind !== kind || drawn.text !== text;
    });
    const keep = same === -1 ? blocks.length : same;
    for (const { nodes } of this.#drawn.splice(keep)) for (const node of nodes) node.remove();
    for (const block of blocks.slice(keep)) {
      const nodes = blockNodes(block, this.cite);
      this.element.append(...nodes);
      this.#drawn.push({ ...block, nodes });
    }
  }
}

/* ---- Passage panel --------------------------------------------------------------------------- */

/** Text without Markdown's signs and line breaks, for previews and comparisons. */
const squeeze = (text) =>
  text.replace(/^[ \t]*(?:[-+*]|\d{1,9}[.)])\s+/gm, "").replace(/[*_`#>]/g, "").replace(/\s+/g, " ").trim();

/** The quote as nodes, with the sentences that the text repeats marked, or else all of it. */
function highlighted(quote, text) {
  const said = squeeze(text);
  const sentences = [...new Intl.Segmenter(undefined, { granularity: "sentence" }).segment(quote)];
  const repeated = ({ segment }) => {
    const sentence = squeeze(segment).replace(/[.!?…:]+$/, ""); // the marker may precede the stop
    return sentence.length > 15 && said.includes(sentence);
  };
  if (!sentences.some(repeated)) return [h("mark", {}, quote)];
  return sentences.map((sentence) => {
    if (!repeated(sentence)) return sentence.segment;
    const marked = sentence.segment.trimEnd();
    return [h("mark", {}, marked), sentence.segment.slice(marked.length)];
  }).flat();
}

/** The quote in one line, without the heading that it may begin with. */
function preview(quote) {
  return squeeze(quote.replace(/^\s*#{1,6} .*\n/, "")) || squeeze(quote);
}

const panel = {
  opener: null, // the button it was opened from, which gets the focus back
  turn: null,
  number: 0,

  open(opener, turn, number) {
    this.close({ restoreFocus: false });
    Object.assign(this, { opener, turn, number });
    opener.setAttribute("aria-expanded", "true");
    this.show();
    $("passage").hidden = false;
    document.body.classList.add("reading");
    const top = $("passage-body").querySelector("mark")?.offsetTop ?? 0;
    $("passage-body").scrollTop = top - MARK_FROM_TOP_PX;
    $("passage-title").focus({ preventScroll: true });
  },

  show() {
    const { number, title, uri, score, quote } = this.turn.sources.get(this.number);
    const cited = this.opener.closest(".prose :is(p, li)")?.textContent ?? this.turn.text;
    $("passage-number").textContent = number;
    $("passage-title").textContent = title;
    $("passage-body").replaceChildren(
      quote === undefined
        ? h("p", { className: "muted" }, "The passage is shown when the answer is complete.")
        : h("blockquote", {}, highlighted(quote, cited)),
    );
    $("passage-footer").replaceChildren(
      safeLink(uri ?? "", uri) ?? h("span", {}, uri ?? ""),
      h("span", { className: "score", title: "How well the passage fits the question" },
        typeof score === "number" ? `Score ${score.toFixed(3)}` : ""),
    );
  },

  close({ restoreFocus = true } = {}) {
    if (!this.opener) return;
    $("passage").hidden = true;
    document.body.classList.remove("reading");
    this.opener.setAttribute("aria-expanded", "false");
    if (restoreFocus) (this.opener.isConnected ? this.opener : $("message")).focus({ preventScroll: true });
    this.opener = this.turn = null;
  },
};

/* ---- One question with its answer ------------------------------------------------------------ */

const milliseconds = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

class Turn {
  text = "";
  sources = new Map();
  runId = null;
  #frame = 0;

  constructor(question, retry) {
    this.question = question;
    this.retry = retry;
    this.element = h("article", { className: "turn" },
      h("h2", { className: "question" }, question),
      (this.progress = h("p", { className: "progress" }, h("span", {}, "Searching your documents"))),
      (this.body = h("div", { className: "prose" })),
      (this.notes = h("div", { className: "notes" })),
    );
    this.body.setAttribute("aria-live", "polite");
    this.body.setAttribute("aria-busy", "true");
    this.prose = new Prose(this.body, (number) => this.#marker(number));
    this.element.addEventListener("click", (event) => {
      const opener = event.target.closest("[data-source]");
      if (opener) panel.open(opener, this, Number(opener.dataset.source));
    });
  }

  #marker(number) {
    const source = this.sources.get(number);
    if (!source) return null;
    return this.#opener(source, { className: "cite", title: source.title }, String(number));
  }

  #opener(source, properties, ...children) {
    return h("button", {
      type: "button",
      "data-source": source.number,
      "aria-label": `Source ${source.number}: ${source.title}`,
      "aria-controls": "passage",
      "aria-expanded": "false",
      ...properties,
    }, ...children);
  }

  /** Consumes one answer's events; resolves when it is over, however it ended. */
  async follow(events, onStart) {
    const began = performance.now();
    let first = null;
    try {
      for await (const event of events) {
        if (event.type === "start") {
          this.runId = event.run_id;
          onStart(event);
        } else if (event.type === "sources") this.#found(event.sources);
        else if (event.type === "token") {
          first ??= performance.now() - began;
          this.text += event.content;
          this.#draw();
        } else if (event.type === "done") this.#done(event, first, performance.now() - began);
        else if (event.type === "error") throw new Failure(event.message, event);
      }
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#finish();
    }
  }

  #found(sources) {
    this.sources = new Map(sources.map((source) => [source.number, source]));
    const count = sources.length;
    if (count) this.progress.firstChild.textContent = `Reading ${count} passage${count > 1 ? "s" : ""}`;
  }

  #draw() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.progress.hidden = true;
      // A marker that is not whole yet would flicker as plain text.
      this.prose.draw(this.text.replace(/\[[\d, ]{0,80}$/, ""));
      this.body.classList.add("growing");
      page.follow();
    });
  }

  #done(done, first, total) {
    for (const citation of done.citations) this.sources.set(citation.number, citation);
    if (panel.turn === this) panel.show();
    if (done.language) this.body.lang = done.language;
    if (done.citations.length) this.notes.append(this.#list(done.citations));
    if (done.degraded?.length) {
      this.#notice("warn", `Some parts of the search were not available (${done.degraded.join(", ")}), so this answer may miss something.`);
    }
    if (done.finish_reason === "length") {
      this.#notice("warn", "The answer reached its longest allowed length and stops here.");
    }
    const times = [first === null ? null : `first words ${milliseconds(first)}`, `complete ${milliseconds(total)}`];
    this.notes.append(h("p", { className: "meta" },
      done.cached ? h("span", { className: "badge", title: "The same question was answered before" }, "Cached") : null,
      times.filter(Boolean).join(" · ")));
    page.say("Answer complete.");
  }

  #list(citations) {
    const ordered = [...citations].sort((a, b) => a.number - b.number);
    const rows = ordered.map((citation) => h("li", {}, this.#opener(citation, { className: "source" },
      h("span", { className: "chip" }, String(citation.number)),
      h("span", { className: "source-title" }, citation.title),
      h("span", { className: "source-quote" }, preview(citation.quote)))));
    return h("section", { className: "sources", "aria-label": "Sources" },
      h("h3", {}, "Sources"), h("ol", {}, rows));
  }

  #failed(error) {
    if (error.name === "AbortError" || error.code === "interrupted") {
      this.#notice("stopped", this.text ? "Stopped. This answer is not complete." : "Stopped.");
      page.say("Stopped.");
      return;
    }
    if (!(error instanceof Failure)) console.error(error);
    const message = error instanceof Failure ? error.message : "The page could not show this answer.";
    const signedOut = error.code === "unauthorized";
    this.#notice("failed", message, this.text ? "This answer is not complete." : null, signedOut || error.retryable !== false);
    if (signedOut) page.askToSignIn();
  }

  #notice(kind, message, more = null, retry = false) {
    this.notes.append(h("div", { className: `notice ${kind}`, role: kind === "failed" ? "alert" : "note" },
      h("p", {}, message, more ? ` ${more}` : null),
      retry ? h("button", { type: "button", className: "quiet", onclick: () => this.retry(this) }, "Retry") : null));
  }

  #finish() {
    cancelAnimationFrame(this.#frame);
    this.progress.hidden = true;
    this.prose.draw(this.text);
    this.body.classList.remove("growing");
    this.body.setAttribute("aria-busy", "false");
    page.follow();
  }
}

/* ---- The page -------------------------------------------------------------------------------- */

const page = {
  conversation: null,
  running: null, // {turn, abort} while an answer streams
  subject: null, // who the conversation is of
  following: true,
  signingIn: null, // a promise that is kept when it is over, with success or without

  say(text) {
    $("status").textContent = text;
  },

  /** Focuses the composer, unless that would raise a touch keyboard over the answer. */
  focus() {
    if (matchMedia("(pointer: fine)").matches) $("message").focus();
  },

  /** How far to scroll by itself: with the answer, until its question reaches the top. */
  get target() {
    const { scrollHeight, clientHeight } = $("scroll");
    return Math.min(scrollHeight - clientHeight, $("log").lastElementChild?.offsetTop ?? 0);
  },

  follow() {
    if (this.following && $("scroll").scrollTop < this.target) $("scroll").scrollTop = this.target;
  },

  trouble(message) {
    $("trouble").hidden = !message;
    $("trouble").textContent = message ?? "";
  },

  async loadAgents() {
    try {
      const agents = await listAgents();
      $("agent").replaceChildren(...agents.map(({ id, name }) => h("option", { value: id }, name)));
      $("agent-field").hidden = agents.length < 2;
      this.trouble(agents.length ? null : "There is no agent yet: create one with POST /api/agents.");
    } catch (error) {
      if (error.code === "unauthorized") this.askToSignIn();
      else this.trouble(error.message);
    }
  },

  /** Finds out who is here. A cookie that is good no more is taken back by the first answer, and
   * on the server's own machine nobody needs one: hence the second try. */
  async enter() {
    for (const last of [false, true]) {
      try {
        await readSession();
        return this.entered();
      } catch (error) {
        if (error.code !== "unauthorized") return this.trouble(error.message);
        if (last) this.askToSignIn();
      }
    }
  },

  entered() {
    if (this.subject !== null && this.subject !== session.subject) this.restart();
    this.subject = session.subject;
    this.trouble(null);
    this.show({ signedIn: true });
    $("who").textContent = nameOf(session);
    $("who").title = `${session.role} of ${session.tenant}`;
    $("account").hidden = session.by !== "session";
    this.focus();
    return this.loadAgents();
  },

  askToSignIn() {
    if (!$("sign-in").hidden) return;
    session = null;
    $("account").hidden = true;
    this.trouble(null);
    this.show({ signedIn: false });
    $("sign-in").scrollIntoView({ block: "nearest" });
    $("credential").focus();
  },

  show({ signedIn }) {
    $("sign-in").hidden = signedIn;
    $("composer").hidden = !signedIn;
    $("restart").hidden = !signedIn;
    if (!signedIn) $("agent-field").hidden = true;
    $("welcome").hidden = !signedIn || $("log").childElementCount > 0;
    this.update(); // a field that is not shown has no height
  },

  async signIn() {
    const field = $("credential");
    const told = $("sign-in-trouble");
    $("sign-in-send").disabled = true;
    told.hidden = true;
    try {
      await signIn(field.value.trim());
      field.value = "";
      field.removeAttribute("aria-invalid");
      await this.entered();
      this.say(`Signed in as ${nameOf(session)}.`);
    } catch (error) {
      told.textContent = error.message;
      told.hidden = false;
      field.setAttribute("aria-invalid", "true");
      field.select();
    } finally {
      $("sign-in-send").disabled = false;
    }
  },

  async signOut() {
    this.stop();
    try {
      await signOut();
    } catch (error) {
      return this.trouble(error.message);
    }
    this.restart();
    this.askToSignIn();
    this.say("Signed out.");
  },

  async ask(question, replaced = null) {
    if (!$("sign-in").hidden) {
      await this.signingIn;
      if (!$("sign-in").hidden) return $("credential").focus();
      if (replaced && !replaced.element.isConnected) return; // somebody else has signed in
    }
    if (this.running) return;
    const abort = new AbortController();
    const turn = new Turn(question, (failed) => this.ask(failed.question, failed));
    this.running = { turn, abort };
    this.update();
    panel.close({ restoreFocus: false });
    $("welcome").hidden = true;
    if (replaced) replaced.element.replaceWith(turn.element);
    else $("log").append(turn.element);
    this.following = true;
    this.follow();
    this.say("Searching your documents.");
    if (document.activeElement === document.body) this.focus();
    if (!$("agent").value) await this.loadAgents();
    const body = { message: question };
    if (this.conversation) body.conversation_id = this.conversation;
    await turn.follow(ask($("agent").value, body, abort.signal), ({ conversation_id }) => {
      this.conversation = conversation_id;
    });
    if (this.running?.turn !== turn) return;
    this.running = null;
    this.update();
  },

  stop() {
    if (!this.running) return;
    const { turn, abort } = this.running;
    abort.abort();
    // Aborting the request stops the run as well; this reaches it where a proxy holds on.
    if (turn.runId) call(`/api/runs/${encodeURIComponent(turn.runId)}/cancel`, {}).catch(() => {});
    this.focus();
  },

  restart() {
    this.stop();
    panel.close({ restoreFocus: false });
    this.running = null;
    this.conversation = null;
    $("log").replaceChildren();
    $("welcome").hidden = false;
    this.trouble(null);
    this.update();
    this.say("New conversation.");
    this.focus();
  },

  submit() {
    const question = $("message").value.trim();
    if ($("send").disabled) return;
    $("message").value = "";
    this.focus();
    this.ask(question);
  },

  /** Brings the composer in line with its text and with whether an answer is running. */
  update() {
    const field = $("message");
    const length = [...field.value.trim()].length; // characters as the server counts them
    const busy = this.running !== null;
    $("send").disabled = busy || length === 0 || length > MAX_MESSAGE_CHARS;
    $("send").hidden = busy;
    $("stop").hidden = !busy;
    $("counter").textContent = length < COUNTER_FROM ? ""
      : `${length.toLocaleString("en")} of ${MAX_MESSAGE_CHARS.toLocaleString("en")} characters`;
    $("counter").classList.toggle("over", length > MAX_MESSAGE_CHARS);
    field.setAttribute("aria-invalid", String(length > MAX_MESSAGE_CHARS));
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight}px`;
  },

  start() {
    $("examples").append(...EXAMPLES.map((question) =>
      h("li", {}, h("button", { type: "button", lang: question.startsWith("¿") ? "es" : "en",
        onclick: () => this.ask(question) }, question))));
    $("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    $("message").addEventListener("input", () => this.update());
    $("message").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.submit();
    });
    $("stop").addEventListener("click", () => this.stop());
    $("restart").addEventListener("click", () => this.restart());
    $("sign-in").addEventListener("submit", (event) => {
      event.preventDefault();
      this.signingIn = this.signIn();
    });
    $("sign-out").addEventListener("click", () => this.signOut());
    $("agent").addEventListener("change", () => this.restart());
    $("passage-close").addEventListener("click", () => panel.close());
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") panel.close();
    });
    $("scroll").addEventListener("scroll", () => {
      this.following = $("scroll").scrollTop > this.target - FOLLOW_WITHIN_PX;
    });
    this.update();
    this.enter();
    this.focus();
  },
};

page.start();
