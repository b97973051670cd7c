"""Secrets that are none: short, known to others, or used twice. Pure; no sentence has a value."""

import re
from base64 import urlsafe_b64decode
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

PASSWORD_CHARS = 16  # of a server that limits who may try, and how often
SIGNING_CHARS = 32  # what is signed can be guessed at anywhere
# A secret made by chance has more different characters: 16 hexadecimal digits have fewer than six
# once in 30,000 times.
DIFFERENT_CHARS = 6
# Of what is left without the words below.
LEFT_CHARS = 8

# What stands in the documentation of others as an example, and is copied from there.
EXAMPLES = frozenset(
    {
        "astringsecretatleast256bitslong",  # jwt.io
        "your256bitsecret",
        "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",  # FastAPI
        "5df9db467ed2c905bcc1",
        "youmustnotusethisinproduction",
    }
)
# What people make one up from. Longer ones first: `password` before `pass`.
WORDS = re.compile(
    "abcdefghijklmnopqrstuvwxyz|abcdefghijklmnop|0123456789|1234567890|123456789|12345678|"
    "citestream|development|production|passphrase|placeholder|qwertyuiop|"
    "changeit|changeme|database|insecure|password|passw0rd|postgres|"
    "default|example|letmein|replace|signing|testing|welcome|"
    "access|change|master|please|qwerty|random|secret|secure|string|strong|valkey|"
    "admin|agent|owner|redis|super|thing|token|value|"
    "auth|pass|prod|root|some|test|this|user|your|abcd|1234|"
    "app|dev|for|jwt|key|kms|not|the|use|very|my|in|is|me"
)


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that is configured: what the user knows it by, and how a better one is set.

    Those with a `remedy` are judged. `own` ones are made for this service alone; a vendor's key is
    what it is, and a model's server on one's own machine takes any word.
    """

    name: str
    value: str = field(repr=False)
    remedy: str = ""
    least: int = 0
    own: bool = True


def weaknesses(secrets: Sequence[Secret]) -> list[str]:
    """A sentence for each secret that is weak by itself, then one for each two that are the same:
    of which one, at least, is this service's own."""
    found = [sentence for secret in secrets if (sentence := weakness(secret)) is not None]
    return found + [
        f"{one.name} and {other.name} are the same; set each to one of its own."
        for one, other in combinations(secrets, 2)
        if one.value == other.value and (one.own or other.own)
    ]


def weakness(secret: Secret) -> str | None:
    """What is wrong with it, None where nothing is."""
    if not secret.remedy:
        return None
    if is_known(secret.value):
        return f"{secret.name} is a value that others know or can guess; {secret.remedy}."
    if len(secret.value) < secret.least:
        return f"{secret.name} is shorter than {secret.least} characters; {secret.remedy}."
    return None


def is_known(value: str) -> bool:
    """Whether it is an example of somebody's, or hardly more than words and repetitions."""
    plain = re.sub("[^a-z0-9]", "", value.lower())
    if plain in EXAMPLES or len(set(value)) < min(DIFFERENT_CHARS, len(value)):
        return True
    left = WORDS.sub("", plain)
    return len(left) < LEFT_CHARS and 2 * len(left) < len(plain)


def is_known_kms_key(text: str) -> bool:
    """Whether the bytes of a key in base64 are words or repetitions: so written, a passphrase is
    still one."""
    plain = text.rstrip("=").replace("+", "-").replace("/", "_")
    key = urlsafe_b64decode(plain + "=" * (-len(plain) % 4)).decode("latin-1")
    if key.isascii() and key.isprintable():  # what chance hardly ever makes
        return is_known(key)
    return len(set(key)) < DIFFERENT_CHARS
