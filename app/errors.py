"""Every error a caller may see: a stable `code`, an HTTP status and a message safe to show.

Adapters translate vendors' errors into these and keep the cause (`raise … from error`).
The first line of a class's docstring is its default message.
"""


class AppError(Exception):
    """Something went wrong on the server; the log has the details."""

    code = "internal_error"
    status = 500
    retryable = False

    def __init__(self, message: str | None = None, *, retry_after: float | None = None) -> None:
        self.message = message or (self.__doc__ or "").partition("\n")[0]
        self.retry_after = retry_after
        super().__init__(self.message)


class InvalidInput(AppError):
    """The request is not valid; see the message for the field and what it takes."""

    code = "invalid_input"
    status = 422


class MalformedBody(AppError):
    """The body is not valid JSON; send a JSON object encoded as UTF-8."""

    code = "malformed_body"
    status = 400


class UnsupportedMediaType(AppError):
    """This content type is not supported here; see the message for those that are."""

    code = "unsupported_media_type"
    status = 415


class TooLarge(AppError):
    """The body is larger than this server accepts; send less or in parts."""

    code = "too_large"
    status = 413


class Unauthorized(AppError):
    """Send a valid API key or token as `Authorization: Bearer <key>`."""

    code = "unauthorized"
    status = 401


class Forbidden(AppError):
    """This credential may not do that."""

    code = "forbidden"
    status = 403


class NotFound(AppError):
    """There is no such object."""

    code = "not_found"
    status = 404


class Conflict(AppError):
    """The object is not in a state that allows this."""

    code = "conflict"
    status = 409


class IdempotencyMismatch(InvalidInput):
    """This Idempotency-Key was used for another request; take a new one."""

    code = "idempotency_mismatch"


class EventsGone(AppError):
    """These events are not kept any more; the answer is in its conversation."""

    code = "events_gone"
    status = 410


class FeatureDisabled(AppError):
    """This feature is switched off on this server."""

    code = "feature_disabled"
    status = 403


class RateLimited(AppError):
    """This caller asks for more than its limits allow; try again when `Retry-After` says."""

    code = "rate_limited"
    status = 429
    retryable = True


class QuotaExceeded(AppError):
    """What may be spent on models today is spent; ask again tomorrow, or for a higher limit."""

    code = "quota_exceeded"
    status = 429


class Unavailable(AppError):
    """A part of the service is not available just now; try again shortly."""

    code = "unavailable"
    status = 503
    retryable = True


class DatabaseUnavailable(Unavailable):
    """The database is not available just now; try again shortly."""

    code = "database_unavailable"


class EncoderUnavailable(Unavailable):
    """The encoder is not available just now; try again shortly."""

    code = "encoder_unavailable"


class TextNotEncodable(AppError):
    """The encoder's model gives no usable vector for this text; change it."""

    code = "text_not_encodable"
    status = 422

    def __init__(self, message: str | None = None, *, index: int = 0) -> None:
        """`index` is the text's place among those that were to be encoded."""
        self.index = index
        super().__init__(message)


class ProviderError(AppError):
    """The language model's provider failed."""

    code = "provider_error"
    status = 502
    retryable = True


class ProviderUnavailable(ProviderError):
    """The language model's provider could not be reached or answered with a server error."""

    code = "provider_unavailable"


class ProviderTimeout(ProviderError):
    """The language model's provider did not answer in time."""

    code = "provider_timeout"
    status = 504


class ProviderRateLimited(ProviderError):
    """The language model's provider asks to slow down; try again shortly."""

    code = "provider_rate_limited"
    status = 503


class ProviderRejected(ProviderError):
    """The language model's provider refused the request; check its key, model and limits."""

    code = "provider_rejected"
    retryable = False


class ProviderTruncated(ProviderError):
    """The language model's stream ended before the answer was complete."""

    code = "provider_truncated"


class Interrupted(AppError):
    """The answer was stopped before it was complete; what there was of it is kept."""

    code = "interrupted"
    status = 409


def named(code: str) -> AppError:
    """An error by its code, with its default message; AppError for one that is not known."""
    kinds = [AppError]
    for kind in kinds:
        if kind.code == code:
            return kind()
        kinds += kind.__subclasses__()
    return AppError()
