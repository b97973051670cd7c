"""What each vendor is configured with."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class OpenAIConfig:
    """`base_url` None is OpenAI itself; any other is taken as it is, `/v1` included. `of_agent`:
    an agent's own, so that messages name its fields instead of the operator's variables."""

    api_key: str = field(repr=False)
    model: str
    base_url: str | None = None
    of_agent: bool = False


@dataclass(frozen=True, slots=True)
class MistralConfig:
    """`server_url` None is Mistral itself; `/v1/chat/completions` is added to any. `of_agent` as
    above."""

    api_key: str = field(repr=False)
    model: str
    server_url: str | None = None
    of_agent: bool = False
