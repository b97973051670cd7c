"""The encoders a process is configured with, by name."""

from collections.abc import Mapping
from typing import TypeAlias

from app.chat.ports import Encoder
from app.errors import EncoderUnavailable

EncodersByName: TypeAlias = Mapping[str, Encoder]


class EncoderNotConfigured(EncoderUnavailable):
    """This process is not configured with the encoder; another one may be."""


def encoder_named(encoders: EncodersByName, name: str) -> Encoder:
    """The encoder; EncoderNotConfigured where the process does not have it, EncoderUnavailable
    while it has one that may be it and has not answered yet."""
    try:
        return encoders[name]
    except KeyError:
        raise EncoderNotConfigured(
            f"This server is not configured with the encoder {name}."
        ) from None
