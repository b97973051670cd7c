"""What `make compose-test` asks of a running deployment: `drive.py COMPOSE URL PROVIDER`.

Prints one line a step, with what was measured; ends with 1 at the first promise that is not kept.
Only the standard library: it runs on the host.
"""

import http.client
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

COMPOSE, URL, PROVIDER = sys.argv[1].split(), *map(urlsplit, sys.argv[2:4])
HERE = Path(__file__).parent
READERS = 8
# How long a service may be away after one of its containers was killed.
LIMITS = {"api": 5.0, "redis": 5.0, "postgres": 5.0, "nginx": 5.0, "encoder": 15.0}
# A run that was cut off with its process or its database is marked within 30 s; until then the same
# request with the same key is told to come back.
AGAIN_SECONDS = 45.0
PAUSE_SECONDS = 0.25
# Uploads that are accepted around the worker's end; what it had begun is taken up again after 30 s.
UPLOADS = 40
INDEXED_SECONDS = 60.0


class Broken(Exception):
    """A promise that was not kept."""


class Client:
    """Asks as a program would: with a key, and again with the same Idempotency-Key."""

    def __init__(self, key: str = "") -> None:
        self.headers = {"Content-Type": "application/json"}
        if key:
            self.headers["Authorization"] = f"Bearer {key}"

    def open(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        host = PROVIDER if path == "/release" else URL
        connection = http.client.HTTPConnection(host.hostname or "", host.port, timeout=60)
        encoded = None if body is None else json.dumps(body)
        connection.request(method, path, encoded, {**self.headers, **headers})
        return connection.getresponse()

    def json(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        response = self.open(method, path, body)
        text = response.read()
        if response.status != status:
            raise Broken(f"{method} {path}: {response.status} {text[:300]!r}")
        return json.loads(text)

    def chat(self, agent: int, message: str, **body: Any) -> Any:
        return self.json("POST", f"/api/agents/{agent}/chat", {"message": message, **body})

    def events(self, agent: int, message: str, **headers: str) -> Iterator[Any]:
        body = {"message": message, "cache": "off"}
        response = self.open("POST", f"/api/agents/{agent}/chat/stream", body, **headers)
        if response.status != 200:
            raise Broken(f"stream: {response.status} {response.read()[:300]!r}")
        for line in response:
            if line.startswith(b"data:"):
                yield json.loads(line[5:])


def compose(*arguments: str, text: str | None = None) -> str:
    done = subprocess.run(
        [*COMPOSE, *arguments], check=True, capture_output=True, text=True, input=text
    )
    return done.stdout.strip()


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def check(holds: bool, what: str) -> None:
    if not holds:
        raise Broken(what)


class Load:
    """Readers who ask without a pause, whole and streamed by turns, and count how it went.

    `kept` answers were complete. A request that failed is sent again with its key, as often as
    needed. `failed` are those that a caller who does not repeat would have seen, `cut` are
    streams without a terminal event, `ended` those that said that they were interrupted; `longest`
    is how long a reader had to repeat until there was an answer.
    """

    def __init__(self, client: Client, agent: int) -> None:
        self.count: Counter[str] = Counter()
        self.longest = 0.0
        self._client, self._agent = client, agent
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.questions: dict[str, str] = {}

    @contextmanager
    def running(self) -> Iterator["Load"]:
        threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(READERS)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _ask(self, reader: int) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            key = str(uuid4())
            message = f"Load {reader} {number} {key[:8]}: what is the Atlas project?"
            whole = (reader + number) % 2 == 0
            began = 0.0
            while (outcome := self._once(message, key, whole)) != "kept":
                began = began or time.monotonic()
                if time.monotonic() - began > AGAIN_SECONDS:
                    outcome = "lost"
                    break
                self._note(outcome)
                time.sleep(PAUSE_SECONDS)
            self._note(outcome, time.monotonic() - began if began else 0.0)
            if outcome == "kept":
                self.questions[key] = message

    def _note(self, outcome: str, waited: float = 0.0) -> None:
        with self._lock:
            self.count[outcome] += 1
            self.longest = max(self.longest, waited)

    def _once(self, message: str, key: str, whole: bool) -> str:
        headers = {"Idempotency-Key": key}
        path = f"/api/agents/{self._agent}/chat"
        try:
            if whole:
                body = {"message": message, "cache": "off"}
                response = self._client.open("POST", path, body, **headers)
                told = json.loads(response.read())
                return "kept" if response.status == 200 and told["answer"] else "failed"
            types = [each["type"] for each in self._client.events(self._agent, message, **headers)]
            return {"done": "kept", "error": "ended"}.get(types[-1] if types else "", "cut")
        except (OSError, http.client.HTTPException, ValueError, Broken):
            return "failed" if whole else "cut"


def until(holds: Callable[[], bool], limit_seconds: float) -> float:
    """Seconds until it holds."""
    began = time.monotonic()
    while True:
        try:
            if holds():
                return time.monotonic() - began
        except (OSError, http.client.HTTPException, ValueError, Broken):
            pass
        if time.monotonic() - began > limit_seconds:
            return time.monotonic() - began
        time.sleep(0.05)


def healthy(service: str, count: int) -> bool:
    ids = compose("ps", "-q", service).split()
    states = subprocess.run(
        ["docker", "inspect", "-f", "{{.State.Health.Status}}", *ids],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    return states == ["healthy"] * count


def ask_and_invalidate(client: Client, agent: int, portfolio: int) -> None:
    text = "Atlas is the map project. It was finished in 2021 by Ana Ruiz."
    body = {"documents": [{"title": "Atlas", "uri": "atlas", "text": text}]}
    client.json("POST", f"/api/portfolios/{portfolio}/documents?wait=true", body)
    question = "What is the Atlas project?"
    first = client.chat(agent, question)
    check(first["answer"] == "Atlas is the map project." and not first["cached"], str(first))
    again = client.chat(agent, question)
    check(again["cached"], f"the same question again was not cached: {first} and then {again}")
    freed = client.json("DELETE", "/api/admin/cache")
    check(freed["invalidated"] > 0, "nothing was invalidated")
    check(not client.chat(agent, question)["cached"], "an answer outlived the invalidation")
    say(f"ask: answered; again: cached; DELETE /api/admin/cache: {freed}; again: not cached")


def first_token(client: Client, agent: int) -> None:
    heard = []
    for event in client.events(agent, "hold: what is the Atlas project?"):
        heard.append(event["type"])
        if event["type"] == "token" and heard.count("token") == 1:
            client.json("POST", "/release")  # until now the model has said one word
    check(heard[-1] == "done" and heard.count("token") > 1, str(heard))
    say(f"stream: the first token was read while the model held the rest; then {heard[-1]}")


def added_by_nginx(key: str, agent: int) -> None:
    script = (HERE / "first_token.py").read_text()
    told = json.loads(compose("exec", "-T", "api", "python", "-", key, str(agent), text=script))
    say(f"first token, {told['pairs']} times each, first quartiles: direct {told['direct_ms']} ms, "
        f"through nginx {told['nginx_ms']} ms, so it adds {told['added_ms']} ms")  # fmt: skip
    check(told["added_ms"] <= 20, "nginx adds more than 20 ms to the first token")


def rolling_restart(client: Client, agent: int) -> None:
    load = Load(client, agent)
    with load.running():
        until(lambda: load.count["kept"] >= 2 * READERS, 60)
        subprocess.run([HERE.parent / "compose/roll"], check=True, stdout=subprocess.DEVNULL)
        reached = load.count["kept"]
        until(lambda: load.count["kept"] >= reached + 2 * READERS, 60)
    say(f"rolling restart of both replicas under load: {dict(load.count)}")
    for bad in ("failed", "cut", "lost"):
        check(load.count[bad] == 0, f"{load.count[bad]} requests {bad} in the restart")


def kill_processes(service: str) -> None:
    """Everything in the container but its init, as a crash would; Docker starts it again."""
    root = ["-u", "0"] if service == "postgres" else []
    subprocess.run(
        [*COMPOSE, "exec", "-T", *root, service, "/bin/sh", "-c", "kill -9 -1"],
        capture_output=True,
    )


def kill(service: str, client: Client, agent: int) -> None:
    load = Load(client, agent)
    with load.running():
        until(lambda: load.count["kept"] >= 2 * READERS, 60)
        kill_processes(service)
        seconds = until(lambda: whole_again(client, agent), 60)
        reached = load.count["kept"]
        until(lambda: load.count["kept"] >= reached + 2 * READERS, 60)
    say(f"SIGKILL of {service}: answers as before after {seconds:.1f} s; {dict(load.count)}, "
        f"repeated for {load.longest:.1f} s at most")  # fmt: skip
    check(load.count["lost"] == 0, "a request was never answered")
    check(seconds <= LIMITS[service], f"{service} took longer than {LIMITS[service]} s")
    stored(client, load)
    until(lambda: healthy("api", 2), 60)


def kill_worker(client: Client, agent: int, portfolio: int) -> None:
    """Nobody who asks notices, and each upload that was accepted is indexed."""
    path = f"/api/portfolios/{portfolio}/documents"
    load, accepted = Load(client, agent), []
    with load.running():
        until(lambda: load.count["kept"] >= READERS, 60)
        for number in range(UPLOADS):
            if number == UPLOADS // 2:
                kill_processes("worker")
            parts = (f"Plan {number}, part {part}. {'It is kept. ' * 60}" for part in range(9))
            body = {"documents": [{"title": f"Plan {number}", "text": "\n\n".join(parts)}]}
            accepted += client.json("POST", path, body, status=202)["ids"]

        def indexed() -> bool:
            items = client.json("GET", f"{path}?limit=200")["items"]
            states = {each["id"]: each["status"] for each in items}
            return all(states[each] == "indexed" for each in accepted)

        seconds = until(indexed, INDEXED_SECONDS)
    say(f"SIGKILL of worker: {UPLOADS} uploads accepted around it, all indexed {seconds:.1f} s "
        f"after the last; {dict(load.count)}")  # fmt: skip
    check(seconds <= INDEXED_SECONDS, "an upload that was accepted was not indexed")
    for bad in ("failed", "cut", "lost"):
        check(load.count[bad] == 0, f"{load.count[bad]} requests {bad} while the worker was away")


def whole_again(client: Client, agent: int) -> bool:
    answer = client.chat(agent, f"Is the Atlas project a map? {uuid4().hex}", cache="off")
    return answer["finish_reason"] == "stop" and not answer["degraded"]


def stored(client: Client, load: Load) -> None:
    """Every acknowledged question is in the history once."""
    titles: Counter[str] = Counter()
    after = ""
    for _ in range(200):
        page = client.json("GET", f"/api/conversations?limit=200{after}")
        titles.update(json.dumps(each, ensure_ascii=False) for each in page["items"])
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    everything = "\n".join(titles)
    lost = [each for each in load.questions.values() if each.partition(":")[0] not in everything]
    check(not lost, f"{len(lost)} acknowledged questions are not in the history")


def main() -> None:
    until(lambda: Client().json("GET", "/readyz")["status"] == "ok", 60)
    say(f"ready: {Client().json('GET', '/readyz')}")
    key = compose("run", "--rm", "--no-deps", "-T", "api", "key", "--tenant", "default")
    client = Client(key)
    agent = client.json("GET", "/api/agents")["items"][0]
    say(f"key: made; agent {agent['id']} ({agent['name']})")
    ask_and_invalidate(client, agent["id"], agent["portfolio_id"])
    first_token(client, agent["id"])
    added_by_nginx(key, agent["id"])
    rolling_restart(client, agent["id"])
    for service in LIMITS:
        kill(service, client, agent["id"])
    kill_worker(client, agent["id"], agent["portfolio_id"])


if __name__ == "__main__":
    try:
        main()
    except Broken as error:
        sys.exit(f"compose-test: {error}")
