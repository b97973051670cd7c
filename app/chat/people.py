"""Who people are to a tenant: their addresses, and roles, which order them."""

import re
from typing import Final, get_args

from app.chat.model import Role, Scope
from app.errors import Forbidden, InvalidInput

ROLES: Final[tuple[Role, ...]] = get_args(Role)  # from most rights to least
MAX_EMAIL_CHARS = 254
# ASCII: other letters have others that look the same, or are the same in lower case.
EMAIL = re.compile(r"[!-?A-~]{1,64}@[A-Za-z0-9][A-Za-z0-9.-]*")


def checked_email(email: str) -> str:
    """The address without blanks around it. Raises InvalidInput for what has not the shape of
    one."""
    stripped = email.strip()
    if len(stripped) > MAX_EMAIL_CHARS or not EMAIL.fullmatch(stripped):
        raise InvalidInput("`email` must be an address such as ada@example.com, in ASCII.")
    return stripped


def is_above(role: str, other: str) -> bool:
    """Whether a role has more rights than another one. Raises InvalidInput for what is none."""
    if role not in ROLES or other not in ROLES:
        raise InvalidInput(f"A role is one of {', '.join(ROLES)}.")
    return ROLES.index(role) < ROLES.index(other)


def check_rank(scope: Scope, role: str) -> None:
    """Raise Forbidden where somebody would make, change or end what is above himself."""
    if is_above(role, scope.role):
        raise Forbidden(f"This needs the role {role}.")
