"""The encoders a process is configured with, by name."""

from collections.abc import Mapping
from typing import TypeAlias

from app.chat.ports import Encoder
from app.errors import EncoderUnavailable

EncodersByName: TypeAlias = Mapping[str, Encoder]


class EncoderNotConfigured(EncoderUnavailable):
    """This process is not configured with the encoder; another one may be."""


def encoder_named(encoders: EncodersByName, name: str) -> Encoder:
    """The encoder; EncoderNotConfigured where the process does not have it."""
    if name not in encoders:
        raise EncoderNotConfigured(f"This server is not configured with the encoder {name}.")
    return encoders[name]
