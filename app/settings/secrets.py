"""Which of the settings are secrets, for whoever must not tell them."""

from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import BaseModel, SecretStr

# In an address's query: libpq takes a password there, others take keys.
SECRET_PARAMETERS = ("password", "secret", "token", "key")


def secrets_of(settings: BaseModel) -> frozenset[str]:
    """Every secret that is set, of every section: keys, and the passwords in addresses. Of several
    in one setting, with commas between them, each."""
    return frozenset(filter(None, _secrets(settings)))


def _secrets(section: BaseModel) -> Iterator[str]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, SecretStr):
            secret = value.get_secret_value()
            yield secret
            yield from (part.strip() for part in secret.split(","))
        elif isinstance(value, BaseModel):
            yield from _secrets(value)
        elif isinstance(value, str) and "://" in value:
            yield from _of_address(value)


def _of_address(address: str) -> Iterator[str]:
    """Passwords as they are written and as they are meant. A user without one may be a key."""
    try:
        parts = urlsplit(address)
        secret = parts.password or (parts.username if parts.scheme.startswith("http") else None)
    except ValueError:  # whoever connects will say what is wrong with it
        return
    for parameter, value in parse_qsl(parts.query):
        if any(word in parameter.lower() for word in SECRET_PARAMETERS):
            yield value
    if secret:
        yield secret
        yield unquote(secret)
