"""The bodies that the API takes. Unknown fields are refused: a field with a typo does nothing."""

import hashlib
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from app.chat.language import normalise_language
from app.chat.model import MAX_MESSAGE_CHARS, CacheMode, QueryComplexity, Question
from app.chat.normalise import check_text
from app.chat.ports import RetrievalRequest
from app.errors import InvalidInput
from app.ingest.check import MAX_TITLE_CHARS, MAX_URI_CHARS
from app.ingest.ports import NewDocument
from app.outgoing.urls import MAX_URL_CHARS

MAX_DOCUMENTS = 1000
MAX_FILTERS, MAX_FILTER_KEY_CHARS, MAX_FILTER_CHARS = 20, 100, 1000
# A key of four characters would be shown as a whole by its last four. The longest are tokens of
# companies' gateways.
MIN_API_KEY_CHARS, MAX_API_KEY_CHARS = 8, 4096
DEFAULT_TOP_K = 8
# An agent's ceilings: the complexity of a question stays below them, so these allow every level.
AGENT_TOP_K = 15
AGENT_MAX_TOKENS = 6000

Value = TypeVar("Value")


def checked(check: Callable[[Value], object]) -> AfterValidator:
    """A domain check as a pydantic validator, its sentence kept as the field's error."""

    def validate(value: Value) -> Value:
        try:
            check(value)
        except InvalidInput as error:
            raise PydanticCustomError("refused", "{reason}", {"reason": error.message}) from None
        return value

    return AfterValidator(validate)


def checked_text(field: str, max_chars: int, *, may_be_blank: bool = False) -> AfterValidator:
    def check(value: str) -> object:
        return check_text(value, field, max_chars, may_be_blank=may_be_blank)

    return checked(check)


def chars(fewest: int, most: int) -> Any:
    """The bounds as OpenAPI states them, for a text that a domain check bounds already."""
    return Field(json_schema_extra={"minLength": fewest, "maxLength": most})


def _check_language(value: str) -> None:
    if normalise_language(value) is None:
        raise InvalidInput("The field `language` must be a language code such as en or es.")


def _check_api_key(value: str) -> None:
    """Never names the value. What is not visible ASCII is no key but a mistake of copying."""
    fits = MIN_API_KEY_CHARS <= len(value) <= MAX_API_KEY_CHARS
    if not (fits and value.isascii() and value.isprintable() and " " not in value):
        raise InvalidInput(
            f"The field `api_key` must have from {MIN_API_KEY_CHARS} to {MAX_API_KEY_CHARS:,} "
            "visible ASCII characters, without spaces."
        )


def _one_of_the_types(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Pydantic would say of each of the types how the value is not of it."""
    try:
        return validate(value)
    except ValidationError:
        raise PydanticCustomError(
            "filter_value",
            f"must be a text of at most {MAX_FILTER_CHARS:,} characters, a number, true, false or "
            "null",
        ) from None


def _check_filters(value: Any) -> Any:
    """The bounds that OpenAPI states, in words: pydantic names a field that nobody sent."""
    if not isinstance(value, dict):
        return value  # said by the type
    if len(value) > MAX_FILTERS:
        raise PydanticCustomError("filters", f"must have at most {MAX_FILTERS} fields")
    if not all(1 <= len(key) <= MAX_FILTER_KEY_CHARS for key in value):
        raise PydanticCustomError(
            "filters", f"must have fields with names of 1 to {MAX_FILTER_KEY_CHARS} characters"
        )
    return value


Integer = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Boolean = Annotated[bool, Strict()]
Message = Annotated[str, checked_text("message", MAX_MESSAGE_CHARS), chars(1, MAX_MESSAGE_CHARS)]
SearchQuery = Annotated[str, checked_text("query", MAX_MESSAGE_CHARS), chars(1, MAX_MESSAGE_CHARS)]
Name = Annotated[str, checked_text("name", 100), chars(1, 100)]
Description = Annotated[str, checked_text("description", 2000, may_be_blank=True), chars(0, 2000)]
SystemPrompt = Annotated[
    str, checked_text("system_prompt", 20_000, may_be_blank=True), chars(0, 20_000)
]
Model = Annotated[str, checked_text("model", 200), chars(1, 200)]
BaseUrl = Annotated[str, checked_text("base_url", MAX_URL_CHARS), chars(1, MAX_URL_CHARS)]
ApiKey = Annotated[
    str,
    checked(_check_api_key),
    Field(
        json_schema_extra={
            "minLength": MIN_API_KEY_CHARS,
            "maxLength": MAX_API_KEY_CHARS,
            "pattern": "^[!-~]*$",
            "format": "password",
        }
    ),
]
Title = Annotated[str, chars(1, MAX_TITLE_CHARS)]
Uri = Annotated[str, chars(1, MAX_URI_CHARS)]
FilterKey = Annotated[str, Field(min_length=1, max_length=MAX_FILTER_KEY_CHARS)]
FilterText = Annotated[str, Field(max_length=MAX_FILTER_CHARS)]
FilterValue = Annotated[
    FilterText | Boolean | Integer | Number | None, WrapValidator(_one_of_the_types)
]
Filters = Annotated[
    dict[FilterKey, FilterValue],
    Field(max_length=MAX_FILTERS, description="Equalities on the documents' metadata."),
    BeforeValidator(_check_filters),
]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class ChatBody(Body):
    """One question to an agent."""

    message: Message
    portfolio_id: Integer | None = None
    conversation_id: UUID | None = None
    language: Annotated[str, checked(_check_language)] | None = None
    grace_seconds: Annotated[Number, Field(ge=0, le=600)] = 0.0
    filters: Filters = Field(default_factory=dict)
    cache: CacheMode = "use"

    def digest(self, agent_id: int) -> bytes:
        """SHA-256 of what is asked of whom, however it was written down."""
        asked = {"agent_id": agent_id, **self.model_dump(mode="json")}
        return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).digest()

    def question(self, agent_id: int) -> Question:
        return Question(
            agent=agent_id,
            message=self.message,
            portfolio_id=self.portfolio_id,
            conversation_id=self.conversation_id,
            language=normalise_language(self.language) if self.language else None,
            filters=self.filters,
            cache=self.cache,
        )


class RetrieveBody(Body):
    """A search in one portfolio."""

    query: SearchQuery
    portfolio_id: Integer
    top_k: Annotated[Integer, Field(ge=1)] = DEFAULT_TOP_K
    filters: Filters = Field(default_factory=dict)
    sources: (
        Annotated[
            list[Annotated[str, Field(min_length=1, max_length=50)]],
            Field(min_length=1, max_length=10),
        ]
        | None
    ) = None

    def request(self, language: str) -> RetrievalRequest:
        return RetrievalRequest(
            query=self.query,
            portfolio_id=self.portfolio_id,
            top_k=self.top_k,
            language=language,
            complexity=QueryComplexity.MEDIUM,
            filters=self.filters,
            sources=self.sources,
        )


class AgentChange(Body):
    """The fields of an agent; those that are given are set."""

    name: Name = ""
    description: Description = ""
    system_prompt: SystemPrompt = ""
    provider: Literal["auto", "openai", "mistral", "extractive"] = "auto"
    model: Model | None = None
    portfolio_id: Integer | None = None
    persona_portfolio_id: Integer | None = None
    fallback_provider: Literal["openai", "mistral", "extractive"] | None = None
    fallback_model: Model | None = None
    semantic_threshold: Annotated[Number, Field(ge=0.5, le=1)] | None = None
    base_url: BaseUrl | None = Field(None, description="Of an API of the agent's own.")
    api_key: ApiKey | None = Field(
        None, description="Write only.", repr=False, json_schema_extra={"writeOnly": True}
    )
    top_k: Annotated[Integer, Field(ge=1)] = AGENT_TOP_K
    max_tokens: Annotated[Integer, Field(ge=1, le=32_000)] = AGENT_MAX_TOKENS
    temperature: Annotated[Number, Field(ge=0, le=2)] = 0.2

    def given(self) -> dict[str, Any]:
        """What the caller sent. Raises InvalidInput for nothing."""
        return given_fields(self)


class AgentBody(AgentChange):
    """A new agent."""

    name: Name


Subject = Annotated[str, Field(pattern=r"^(user|key):[1-9][0-9]{0,17}$")]
Readers = Annotated[
    list[Subject],
    Field(max_length=1000, description="Who may read it, as `user:1` or `key:1`; null: everybody."),
]
Writers = Annotated[
    list[Subject],
    Field(max_length=1000, description="Who may add and remove documents beside owners, admins."),
]


class PortfolioChange(Body):
    """The fields of a portfolio; those that are given are set."""

    name: Name = ""
    description: Description = ""
    readers: Readers | None = None
    writers: Writers = Field(default_factory=list)

    def given(self) -> dict[str, Any]:
        """What the caller sent. Raises InvalidInput for nothing."""
        return given_fields(self)


class PortfolioBody(PortfolioChange):
    """A new portfolio."""

    name: Name


class DocumentBody(Body):
    """A text; its contents are checked where every document's are. With a `uri`, a later text of
    the same uri replaces it."""

    title: Title
    text: Annotated[str, Field(json_schema_extra={"minLength": 1})]
    uri: Uri | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)

    def document(self) -> NewDocument:
        return NewDocument(self.title, self.text, self.uri, self.metadata)


class PageBody(Body):
    """A page to fetch; its URL is its uri, and its title its own, unless others are given."""

    url: Annotated[str, Field(json_schema_extra={"format": "uri"}), chars(1, MAX_URL_CHARS)]
    title: Title | None = None
    uri: Uri | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


def _text_or_page(value: Any, _: object) -> DocumentBody | PageBody:
    """Decided by the one field, so that what is wrong is said of one of them, not of both."""
    is_page = isinstance(value, dict) and "url" in value
    return (PageBody if is_page else DocumentBody).model_validate(value)


Item = Annotated[DocumentBody | PageBody, WrapValidator(_text_or_page)]


class DocumentsBody(Body):
    """Texts to add to a portfolio, and pages to fetch."""

    documents: Annotated[list[Item], Field(min_length=1, max_length=MAX_DOCUMENTS)]


def given_fields(body: BaseModel) -> dict[str, Any]:
    given = body.model_dump(exclude_unset=True)
    if not given:
        raise InvalidInput("Send at least one field to change.")
    return given


def request_body(
    model: type[BaseModel], *, files: bool = False, partial: bool = False
) -> dict[str, Any]:
    """The OpenAPI description of a body that a route reads itself: `files` may come instead,
    `partial` means that fields left out stay as they are."""
    schema = model.model_json_schema()
    schema = _inlined(schema, schema.pop("$defs", {}))
    if partial:
        schema["minProperties"] = 1
        for field in schema["properties"].values():
            field.pop("default", None)
    content = {"application/json": {"schema": schema}}
    if files:
        file = {"type": "array", "items": {"type": "string", "format": "binary"}}
        content["multipart/form-data"] = {
            "schema": {"type": "object", "properties": {"files": file}}
        }
    return {"requestBody": {"required": True, "content": content}}


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """The schema with its `#/$defs/…` replaced: inside OpenAPI they would point nowhere."""
    if isinstance(schema, list):
        return [_inlined(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {key: _inlined(part, definitions) for key, part in schema.items()}
