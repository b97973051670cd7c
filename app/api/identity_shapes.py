"""The JSON of users, API keys and the page's session: what is taken and what is answered."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BeforeValidator, Field
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from app.api.auth import MAX_CREDENTIAL_CHARS
from app.api.schemas import Body, Boolean, Integer, Name, chars, checked, checked_text, given_fields
from app.chat.administration import UserRecord
from app.chat.keys import KeyRecord
from app.chat.model import Role
from app.chat.people import MAX_EMAIL_CHARS, checked_email

MAX_PORTFOLIOS = 100
RFC_3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}", re.ASCII)


def _written_out(value: object) -> object:
    """Pydantic would take a number for seconds since 1970, and a date for its midnight."""
    if not isinstance(value, str) or not RFC_3339.match(value):
        raise PydanticCustomError("time", "must be a time such as 2030-01-31T12:00:00Z")
    return value


Email = Annotated[str, checked(checked_email), chars(3, MAX_EMAIL_CHARS)]
FullName = Annotated[str, checked_text("name", 100, may_be_blank=True), chars(0, 100)]
Moment = Annotated[AwareDatetime, BeforeValidator(_written_out)]


class UserChange(Body):
    """The fields of a user; those that are given are set."""

    email: Email = ""
    name: FullName = ""
    role: Role = "member"
    disabled: Boolean = False
    sign_out_everywhere: Annotated[
        Literal[True],
        Field(description="End every session, and refuse every token made before now."),
    ] = True

    def given(self) -> dict[str, Any]:
        """What the caller sent. Raises InvalidInput for nothing."""
        return given_fields(self)


class UserBody(Body):
    """A new user, known by the address that an issuer's tokens say."""

    email: Email
    name: FullName = ""
    role: Role = "member"


class KeyBody(Body):
    """A new API key: of a user, or of nobody but itself. One that is limited to portfolios has the
    role member."""

    name: Name
    role: Role = "member"
    user_id: Integer | None = None
    portfolio_ids: (
        Annotated[list[Integer], Field(min_length=1, max_length=MAX_PORTFOLIOS)] | None
    ) = None
    expires_at: Moment | None = None


class SignInBody(Body):
    """An API key, or a token (JWT)."""

    credential: Annotated[str, Field(min_length=1, max_length=MAX_CREDENTIAL_CHARS)]


class UserJson(TypedDict):
    id: int
    email: str
    name: str
    role: str
    disabled: bool
    created_at: datetime


class UsersJson(TypedDict):
    items: list[UserJson]
    next: str | None


class KeyJson(TypedDict):
    id: int
    name: str
    role: str
    user_id: int | None
    portfolio_ids: list[int] | None
    last4: str
    expires_at: datetime | None
    created_at: datetime


class NewKeyJson(KeyJson):
    key: str


class KeysJson(TypedDict):
    items: list[KeyJson]
    next: str | None


class SessionJson(TypedDict):
    subject: str
    role: str
    tenant: str
    name: str | None
    by: Literal["session", "key", "token", "loopback"]
    csrf_token: str | None
    expires_at: datetime | None


def user_json(user: UserRecord) -> UserJson:
    return {
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "role": user.role,
        "disabled": user.disabled_at is not None,
        "created_at": user.created_at,
    }


def key_json(key: KeyRecord) -> KeyJson:
    """A key without itself."""
    return {
        "id": key.id,
        "name": key.name,
        "role": key.role,
        "user_id": key.user_id,
        "portfolio_ids": None if key.portfolio_ids is None else list(key.portfolio_ids),
        "last4": key.last4,
        "expires_at": key.expires_at,
        "created_at": key.created_at,
    }
