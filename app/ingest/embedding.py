"""Texts into vectors, each text once for a tenant and an encoder, however often it comes."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence

from app.chat.encoders import EncodersByName, encoder_named
from app.chat.model import Scope, Vector
from app.chat.ports import Encoder
from app.errors import InvalidInput, TextNotEncodable
from app.ingest.ports import Vectors

# Of a text that cannot be encoded: enough to find it in the document.
EXCERPT_CHARS = 120


class Embedder:
    """Asks the encoders only for what `vectors` does not have, and keeps what they made."""

    def __init__(self, encoders: EncodersByName, vectors: Vectors) -> None:
        self._encoders = encoders
        self._vectors = vectors
        # What is being made in this process, by tenant, encoder and hash; done when it is not.
        self._making: dict[tuple[int, str, bytes], asyncio.Future[None]] = {}

    async def embed(self, scope: Scope, encoder: str, texts: Sequence[str]) -> Sequence[Vector]:
        """One vector a text, in their order. What was encoded is kept before this returns.

        Raises EncoderUnavailable, also where the process is not configured with the encoder, and
        InvalidInput where its model cannot encode one of the texts.
        """
        model = encoder_named(self._encoders, encoder)
        hashes = [text_hash(text) for text in texts]
        wanted = dict(zip(hashes, texts, strict=True))
        known: dict[bytes, Vector] = {}
        while wanted.keys() > known.keys():
            missing = [digest for digest in wanted if digest not in known]
            known |= await self._vectors.find(scope, encoder, missing)
            left = {digest: wanted[digest] for digest in missing if digest not in known}
            known |= await self._make(scope, model, left)
        return [known[digest] for digest in hashes]

    async def _make(
        self, scope: Scope, model: Encoder, texts: Mapping[bytes, str]
    ) -> Mapping[bytes, Vector]:
        """Encode those that nobody else here is encoding; where there are none, wait for one."""
        keys = {digest: (scope.tenant_id, model.name, digest) for digest in texts}
        free = [digest for digest in texts if keys[digest] not in self._making]
        if not free:
            others = {self._making[key] for key in keys.values()}
            if others:
                await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
            return {}
        done = asyncio.get_running_loop().create_future()
        self._making |= {keys[digest]: done for digest in free}
        try:
            made = await model.embed_documents([texts[digest] for digest in free])
            vectors = dict(zip(free, made, strict=True))
            await self._vectors.store(scope, model.name, vectors)
            return vectors
        except TextNotEncodable as error:
            excerpt = " ".join(texts[free[error.index]].split())[:EXCERPT_CHARS]
            raise InvalidInput(
                f"The encoder {model.name} has no vector for the part “{excerpt}”; change or "
                "remove it and send the document again."
            ) from error
        finally:
            for digest in free:
                del self._making[keys[digest]]
            done.set_result(None)


def text_hash(text: str) -> bytes:
    """SHA-256 of exactly what is encoded."""
    return hashlib.sha256(text.encode()).digest()
