"""Vendors' failures as the sentences an operator can act on.

A message says what refused and what to check. It never holds a key or the vendor's own body,
which may repeat the key or the prompt; the cause keeps those for the log.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from app.errors import (
    ProviderError,
    ProviderRateLimited,
    ProviderRejected,
    ProviderUnavailable,
)


@dataclass(frozen=True, slots=True)
class Vendor:
    """How messages name a provider: its label and what configures it."""

    label: str
    key_variable: str
    url_variable: str
    model_variable: str

    def refused(self, status: int, headers: Mapping[str, str], model: str) -> ProviderError:
        """The error for an HTTP status that is not a stream of tokens."""
        if status == 429:
            return ProviderRateLimited(
                f"{self.label} asks to slow down; try again shortly.",
                retry_after=retry_after(headers),
            )
        if status >= 500 or status == 408:
            return ProviderUnavailable(
                f"{self.label} answered with a server error ({status}); try again shortly.",
                retry_after=retry_after(headers),
            )
        return ProviderRejected(f"{self.label} {self._refusal(status, model)}")

    def unreachable(self) -> ProviderUnavailable:
        return ProviderUnavailable(
            f"{self.label} could not be reached; check {self.url_variable} and the network."
        )

    def _refusal(self, status: int, model: str) -> str:
        if status == 401:
            return f"does not accept the API key (401); check {self.key_variable}."
        if status == 403:
            return (
                f'does not allow this key the model "{model}" (403); '
                f"check {self.key_variable} and {self.model_variable}."
            )
        if status == 404:
            return (
                f'does not know the model "{model}" or the address (404); '
                f"check {self.model_variable} and {self.url_variable}."
            )
        if status < 400:
            return (
                f"did not answer with a stream of tokens ({status}); "
                f"check {self.url_variable}, which must be the address of its API itself."
            )
        return (
            f'refused the request ({status}); check that the model "{model}" '
            f"({self.model_variable}) takes this much context and answer."
        )


def of_agent(label: str) -> Vendor:
    """One that an agent brings along: what configures it are the agent's own fields."""
    return Vendor(label, "the agent's `api_key`", "the agent's `base_url`", "the agent's `model`")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait as the response says, None where it does not or gives a date."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    return None
