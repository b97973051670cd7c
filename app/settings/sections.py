"""What is configurable, a section for each part of the service, each value with its reason."""

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from app.encoder.backend import DEFAULT_BACKEND


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Features(Section):
    """Whole capabilities on or off, and each retrieval source by name."""

    streaming: bool = True
    answer_cache: bool = True
    semantic_cache: bool = True  # of answers, for the same question in other words
    rewrite: bool = True  # of follow-ups, before documents are searched for them
    # Asks what usually comes next while nobody asks anything, at up to 10 answers a minute and
    # process, and so costs a model's tokens.
    prefetch: bool = False
    dynamic_context: bool = True  # off: the agent's own top_k and max_tokens for every question
    vector: bool = True
    keyword: bool = True
    graph: bool = True
    persona: bool = True
    domain: bool = True


class CacheSettings(Section):
    answer_ttl_seconds: int = Field(3600, ge=1)
    passages_ttl_seconds: int = Field(1800, ge=1)
    # Of a process's memory, for what is asked all the time: 1,500 answers. 0 switches it off.
    local_mb: float = Field(8, ge=0)
    # The least cosine of two questions with one answer; 1 switches it off. docs/caches.md has what
    # other values would find.
    semantic_threshold: float = Field(0.95, ge=0.5, le=1)
    # A Redis slower than this is worse than none: the request goes on without it.
    timeout_seconds: float = Field(0.15, gt=0)
    # How long the breaker stays open before one request probes again (recovery within 2 s).
    retry_after_seconds: float = Field(1.0, gt=0)


class RetrievalSettings(Section):
    # A busy encoder needs most of it: a question's vector is waited for up to 1.5 s. Keyword has
    # as long, because it is what remains when everything else fails.
    source_deadline_seconds: float = Field(2.0, gt=0)
    # These add to what the two find. Each takes some ten milliseconds; where it takes fifty times
    # as long, an answer now is worth more than a complete one.
    graph_deadline_seconds: float = Field(0.5, gt=0)
    persona_deadline_seconds: float = Field(0.5, gt=0)
    domain_deadline_seconds: float = Field(0.5, gt=0)
    # Below this many chunks an exact scan is faster than HNSW and has recall 1 (design §6).
    exact_below_chunks: int = Field(400, ge=0)
    hnsw_ef_search: int = Field(80, ge=10, le=1000)
    max_top_k: int = Field(100, ge=1)


class IngestSettings(Section):
    max_document_bytes: int = Field(10 * 1024 * 1024, ge=1)
    max_request_bytes: int = Field(32 * 1024 * 1024, ge=1)
    # Whether what serves indexes too; off where `citestream worker` does it instead.
    here: bool = True
    chunk_chars: int = Field(900, ge=100)  # MiniLM reads 256 word pieces, about 1,000 characters


class ProviderSettings(Section):
    """Deadlines of a model's answer, and what is done before its first token."""

    connect_seconds: float = Field(2.0, gt=0)
    first_token_seconds: float = Field(20.0, gt=0)
    between_tokens_seconds: float = Field(20.0, gt=0)
    total_seconds: float = Field(120.0, gt=0)
    # For the question that a follow-up stands for, before documents are searched. A small model
    # says one line within a second; whoever waits longer than this would rather have an answer.
    rewrite_seconds: float = Field(3.0, gt=0)
    # After the first attempt; more only delays the sentence that says what is wrong.
    retries: int = Field(2, ge=0, le=10)
    # Doubles with each attempt, half of it by chance. A restart behind a vendor's balancer takes
    # less; a reader who waits for a first word does not notice a quarter of a second.
    backoff_seconds: float = Field(0.25, gt=0)
    # Attempts that failed one after the other: more than one unlucky question has.
    breaker_failures: int = Field(5, ge=1, le=1000)
    # Failures further apart than this are single events. Three first-token deadlines fit in.
    breaker_window_seconds: float = Field(60.0, gt=0)
    # Until one call probes again: a recovery goes unnoticed no longer, and while the vendor is away
    # no more than one question in so long waits in vain.
    breaker_open_seconds: float = Field(10.0, gt=0)


class DatabaseSettings(Section):
    pool_size: int = Field(10, ge=1)
    timeout_seconds: float = Field(5.0, gt=0)
    # Whether DATABASE_URL is a pooler in transaction mode (PgBouncer), which needs statements
    # without names, and so more round trips. DATABASE_OWNER_URL is never one.
    pooler: bool = False


class EncoderSettings(Section):
    url: str | None = None
    api_key: SecretStr | None = None
    model: str = "sentence-transformers/all-MiniLM-L6-v2"
    # Of the encoder that `run` starts; onnx takes less than half of torch's time, and auto is
    # onnx, or torch where onnx cannot run the model.
    backend: str = Field(DEFAULT_BACKEND, pattern="^(auto|torch|onnx|openvino)$")
    # Of the same, in one go, with padding; 0: what suits the device, 1,024 on a CPU. A question
    # waits for the batch that runs, and a batch takes memory by its size.
    batch_tokens: int = Field(0, ge=0, le=131072)
    timeout_seconds: float = Field(10.0, gt=0)


class RerankerSettings(Section):
    """A server that reads question and text together, where there is one."""

    url: str | None = None
    api_key: SecretStr | None = None
    # It begins when the last source is done, so its time is on top. A small cross-encoder reads
    # thirty passages in 1.5 s on one core.
    timeout_seconds: float = Field(2.0, gt=0)
    # Below the thirtieth place fusion hardly ever leaves what answers.
    top_n: int = Field(30, ge=1, le=100)


class NextEncoderSettings(Section):
    """A second encoder, of another model, while that replaces the main one's."""

    url: str
    api_key: SecretStr | None = None
    model: str | None = None  # whatever the encoder there hosts
    timeout_seconds: float = Field(10.0, gt=0)


class AuthSettings(Section):
    """Tokens (JWTs) of people, from an issuer of one's own or from any that speaks OIDC. API keys
    need none of it."""

    # Signs the tokens of `citestream token`, HS256; without it none is accepted.
    secret: SecretStr | None = Field(None, min_length=32)
    # The keys of an OIDC issuer, which it publishes at this address, and what its tokens say.
    jwks_url: str | None = Field(None, pattern="^https?://")
    algorithm: str = Field("RS256", pattern="^(RS|ES|PS)(256|384|512)$|^EdDSA$")
    issuer: str = Field("citestream", min_length=1)
    audience: str = Field("citestream", min_length=1)
    # Which claims say who it is, and in which tenant: a person may be known in several.
    user_claim: str = Field("email", min_length=1)
    tenant_claim: str = Field("tenant", min_length=1)
    # How long the page stays signed in.
    session_hours: float = Field(12, gt=0, le=720)


class Limit(Section):
    """0 is no limit."""

    requests_per_minute: int = Field(0, ge=0)
    streams: int = Field(0, ge=0)  # at the same time
    tokens_per_minute: int = Field(0, ge=0)  # of models, prompts included
    cost_per_day: float = Field(0, ge=0)  # in the currency of the prices


class LimitSettings(Section):
    """What each user, each API key and each tenant may use."""

    user: Limit = Limit()
    key: Limit = Limit()
    tenant: Limit = Limit()
