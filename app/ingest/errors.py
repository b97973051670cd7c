"""What can be wrong with a document, each with a code that callers may rely on."""

from app.errors import AppError, InvalidInput, TooLarge, Unavailable


class EmptyDocument(InvalidInput):
    """The document has no text; send one with at least one visible character."""

    code = "empty_document"


class InvalidEncoding(InvalidInput):
    """The file is not UTF-8; save it as UTF-8 and send it again."""

    code = "invalid_encoding"


class InvalidText(InvalidInput):
    """The text has characters that cannot be stored; remove them and send it again."""

    code = "invalid_text"


class MalformedDocument(InvalidInput):
    """The file is not the JSON it should be; see the message for where and why."""

    code = "malformed_document"


class InvalidMetadata(InvalidInput):
    """`metadata` must be a small JSON object; see the message for its limits."""

    code = "invalid_metadata"


class DuplicateDocument(InvalidInput):
    """Two documents of this call are the same one; send each once."""

    code = "duplicate_document"


class DocumentTooLarge(TooLarge):
    """The document is larger than this server accepts; split it."""

    code = "document_too_large"


class DocumentTooComplex(InvalidInput):
    """Reading the document takes more memory or time than this server gives one; split it."""

    code = "document_too_complex"


class ReaderUnavailable(Unavailable):
    """The process that reads documents is not available just now; try again shortly."""

    code = "reader_unavailable"


class EncodersChanged(AppError):
    """The portfolio's encoder was changed while the document was encoded; it is tried again."""

    code = "encoders_changed"
    status = 503
    retryable = True
