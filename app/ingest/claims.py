"""Keeping what this process works on from being taken over by another."""

import asyncio

import structlog

from app.errors import AppError
from app.ingest.ports import Documents, Upload

log = structlog.get_logger(__name__)

# Two may fail, each after the five seconds that a database has, before a claim lapses (30 s).
EVERY_SECONDS = 7.0


class Claims:
    """Renews claims for as long as they are held, however long that is."""

    def __init__(self, documents: Documents, every_seconds: float = EVERY_SECONDS) -> None:
        self._documents = documents
        self._every = every_seconds
        self._held: dict[int, Upload] = {}
        self._renewing: asyncio.Task[None] | None = None

    def hold(self, upload: Upload) -> None:
        """Renew it from here on."""
        self._held[upload.id] = upload
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew(), name="claims")

    def let_go(self, upload_id: int) -> None:
        """It is done, or about to be given back."""
        del self._held[upload_id]
        if not self._held and self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                await self._documents.keep(list(self._held.values()))
            except AppError as error:
                log.warning("claims_not_renewed", code=error.code, reason=error.message)
            except Exception:  # whatever it is, the next one may succeed
                log.exception("claims_not_renewed")
