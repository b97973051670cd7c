"""The only reader of the environment. Every tunable is named here, with its unit and its reason.

Variables are `CITESTREAM_…`, nested with `__` (`CITESTREAM_CACHE__ANSWER_TTL_SECONDS`); those that
the whole world already sets (`PORT`, `OPENAI_API_KEY`, …) keep their names. An unknown
`CITESTREAM_…` variable is refused, because a switch with a typo is a switch that does nothing.
"""

import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from app.machine import cores
from app.settings.models import model_server
from app.settings.origins import origins
from app.settings.redis import redis_address
from app.settings.sections import (
    AuthSettings,
    CacheSettings,
    DatabaseSettings,
    EncoderSettings,
    Features,
    IngestSettings,
    LimitSettings,
    NextEncoderSettings,
    ProviderSettings,
    RerankerSettings,
    RetrievalSettings,
    Section,
)

PREFIX = "CITESTREAM_"
POSTGRES = "^postgres(ql)?://"
MAX_WORKERS = 64


class ConfigurationError(Exception):
    """A setting is wrong; the message names the variable and what it takes, never its value."""

    safe_to_show = True


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
    prices: dict[str, tuple[NonNegativeFloat, NonNegativeFloat]] = {}

    # They may hold passwords: no `repr` shows them.
    database_url: str | None = Field(
        None, validation_alias="DATABASE_URL", repr=False, pattern=POSTGRES
    )
    database_owner_url: str | None = Field(
        None, validation_alias="DATABASE_OWNER_URL", repr=False, pattern=POSTGRES
    )
    redis_url: Annotated[str, AfterValidator(redis_address)] | None = Field(
        None, validation_alias="REDIS_URL", repr=False
    )

    openai_api_key: SecretStr | None = Field(None, validation_alias="OPENAI_API_KEY")
    openai_base_url: Annotated[str, AfterValidator(model_server)] | None = Field(
        None, validation_alias="OPENAI_BASE_URL"
    )
    openai_model: str = Field("gpt-4o-mini", validation_alias="OPENAI_MODEL")
    mistral_api_key: SecretStr | None = Field(None, validation_alias="MISTRAL_API_KEY")
    mistral_server_url: Annotated[str, AfterValidator(model_server)] | None = Field(
        None, validation_alias="MISTRAL_SERVER_URL"
    )
    mistral_model: str = Field("mistral-small-latest", validation_alias="MISTRAL_MODEL")

    # In production it refuses to start with what is well enough for trying it out.
    environment: Literal["development", "production"] = "development"
    # What provider keys of agents are encrypted under: 32 bytes in base64. Several, with commas
    # between them, while keys are rotated; the first one encrypts.
    kms_keys: SecretStr | None = Field(None, validation_alias="AGENT_KMS_KEY", min_length=1)
    # Hosts that may lie in a private network, with commas between them: what a tenant names (an
    # agent's base_url, a document's address) reaches public addresses only.
    allow_private_hosts: str = Field("", validation_alias="ALLOW_PRIVATE_HOSTS")
    # Other sites whose pages may call the API with a credential, with commas between them.
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(origins)] = ()

    device: str = Field("auto", validation_alias="RAG_DEVICE", pattern="^(auto|cpu|cuda)$")
    cpu_threads: int = Field(0, ge=0, validation_alias="RAG_CPU_THREADS")  # 0: one a core

    auth: AuthSettings = AuthSettings()
    limits: LimitSettings = LimitSettings()
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
