"""What can be wrong with an address that a tenant names, and with what is found there."""

from app.errors import AppError, InvalidInput


class Blocked(InvalidInput):
    """This address is not on the public internet; ALLOW_PRIVATE_HOSTS names those that may be."""

    code = "address_refused"

    @classmethod
    def naming(cls, host: str) -> "Blocked":
        """Says nothing of where the name leads, which is nobody's outside to know."""
        return cls(
            f"{host} is not an address on the public internet, or its name leads to one that is "
            "not; the operator can allow it by name with ALLOW_PRIVATE_HOSTS."
        )


class PageRefused(InvalidInput):
    """There is no page at this address that could be read; see the message for the reason."""

    code = "page_refused"


class PageUnavailable(AppError):
    """The server of this page could not be reached, or failed; try again shortly."""

    code = "page_unavailable"
    status = 502
    retryable = True
