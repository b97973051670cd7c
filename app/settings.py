"""The only reader of the environment. Every tunable is named here, with its unit and its reason.

Variables are `CITESTREAM_…`, nested with `__` (`CITESTREAM_CACHE__ANSWER_TTL_SECONDS`); those that
the whole world already sets (`PORT`, `OPENAI_API_KEY`, …) keep their names. An unknown
`CITESTREAM_…` variable is refused, because a switch with a typo is a switch that does nothing.
"""

import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from app.encoder.backend import DEFAULT_BACKEND
from app.machine import cores

PREFIX = "CITESTREAM_"
POSTGRES = "^postgres(ql)?://"
MAX_WORKERS = 64


class ConfigurationError(Exception):
    """A setting is wrong; the message names the variable and what it takes."""


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
    exact_below_chunks: int = Field(700, ge=0)
    hnsw_ef_search: int = Field(80, ge=10, le=1000)
    max_top_k: int = Field(100, ge=1)


class IngestSettings(Section):
    max_document_bytes: int = Field(10 * 1024 * 1024, ge=1)
    max_request_bytes: int = Field(32 * 1024 * 1024, ge=1)
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


class Settings(BaseSettings):
    """Everything configurable. `Settings()` reads the environment; tests pass values."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
        env_ignore_empty=True,  # `REDIS_URL=` is how a compose file says "none"
    )

    # Settings for a purpose: one that is shipped, by its name, or a YAML file. What stands in the
    # environment counts before what the profile says (docs/tuning.md).
    profile: str | None = None
    data: Path = Path(".citestream")
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535, validation_alias="PORT")
    log_level: str = Field("info", pattern="(?i)^(debug|info|warning|error|critical)$")
    drain_seconds: float = Field(10.0, ge=0)
    # API processes that share the address; 0: one for each core. A typing error (88) must not take
    # the machine.
    workers: int = Field(1, ge=0, le=MAX_WORKERS)
    # How much of the conversation a language model is given, in estimated tokens.
    history_tokens: int = Field(1500, ge=0)
    # An answer whose first token takes longer is logged with its stages; 0 logs every one.
    slow_answer_seconds: float = Field(5.0, ge=0)

    # Where traces go to by OTLP over HTTP (docs/measuring.md); nowhere without it. The variable is
    # the world's own, as are those that say how.
    otlp_endpoint: str | None = Field(
        None, validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT", pattern="^https?://"
    )
    # By model, what a million tokens of a prompt and of an answer cost (`citestream_cost_total`).
    prices: dict[str, tuple[float, float]] = {}

    # They may hold passwords: no `repr` shows them.
    database_url: str | None = Field(
        None, validation_alias="DATABASE_URL", repr=False, pattern=POSTGRES
    )
    database_owner_url: str | None = Field(
        None, validation_alias="DATABASE_OWNER_URL", repr=False, pattern=POSTGRES
    )
    redis_url: str | None = Field(
        None, validation_alias="REDIS_URL", repr=False, pattern="^(rediss?|unix)://"
    )

    openai_api_key: SecretStr | None = Field(None, validation_alias="OPENAI_API_KEY")
    openai_base_url: str | None = Field(None, validation_alias="OPENAI_BASE_URL")
    openai_model: str = Field("gpt-4o-mini", validation_alias="OPENAI_MODEL")
    mistral_api_key: SecretStr | None = Field(None, validation_alias="MISTRAL_API_KEY")
    mistral_server_url: str | None = Field(None, validation_alias="MISTRAL_SERVER_URL")
    mistral_model: str = Field("mistral-small-latest", validation_alias="MISTRAL_MODEL")

    device: str = Field("auto", validation_alias="RAG_DEVICE", pattern="^(auto|cpu|cuda)$")
    cpu_threads: int = Field(0, ge=0, validation_alias="RAG_CPU_THREADS")  # 0: torch's own choice

    features: Features = Features()
    cache: CacheSettings = CacheSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    ingest: IngestSettings = IngestSettings()
    provider: ProviderSettings = ProviderSettings()
    database: DatabaseSettings = DatabaseSettings()
    encoder: EncoderSettings = EncoderSettings()
    next_encoder: NextEncoderSettings | None = None  # docs/reencoding.md
    reranker: RerankerSettings = RerankerSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The first that says something counts."""
        return (init_settings, env_settings, _OfTheProfile(settings_cls))

    @field_validator("workers")
    @classmethod
    def _one_for_each_core(cls, workers: int) -> int:
        return workers or min(cores(), MAX_WORKERS)

    def __init__(self, **values: Any) -> None:
        refuse_unknown(os.environ)
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError(describe(error)) from None
        except SettingsError as error:  # a section's own variable, which takes JSON
            raise ConfigurationError(f"{error}.") from None

    @property
    def loopback_only(self) -> bool:
        """True where only this machine can connect, so a request needs no credential."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


class _OfTheProfile(PydanticBaseSettingsSource):
    """What the profile says that is named by the sources before."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError  # a profile is read as a whole

    def __call__(self) -> dict[str, Any]:
        named = self.current_state.get("profile")
        if named is None:
            return {}
        # Not above: YAML is for those only who use a profile, and it needs these settings.
        from app.profiles import find_profile

        return find_profile(str(named)).by_alias()


def refuse_unknown(environment: Mapping[str, str]) -> None:
    """Raise ConfigurationError for `CITESTREAM_…` variables that no setting reads."""
    fields = Settings.model_fields
    known = {PREFIX + name.upper() for name in fields}
    sections = {PREFIX + name.upper() for name in fields if has_parts(fields[name].annotation)}
    for variable in sorted(environment):
        name, nested, _ = variable.upper().partition("__")
        if name.startswith(PREFIX) and name not in (sections if nested else known):
            raise ConfigurationError(
                f"{variable} is not a setting; known are {', '.join(sorted(known))}."
            )


def has_parts(annotation: Any) -> bool:
    """Whether a setting of this type is a section, or a section or None."""
    kinds = get_args(annotation) or (annotation,)
    return any(isinstance(kind, type) and issubclass(kind, Section) for kind in kinds)


def describe(error: ValidationError) -> str:
    """One sentence a wrong setting, naming the variable; never its value."""
    sentences = []
    for detail in error.errors():
        path = [str(part) for part in detail["loc"]]
        name = path[0] if path[0].isupper() else PREFIX + "__".join(path).upper()
        sentences.append(f"{name}: {detail['msg']}.")
    return " ".join(sentences)
