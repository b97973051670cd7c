"""Encoders by name. They are made by the owner (`migrate.prepare`) and never change."""

from dataclasses import dataclass

from pgvector import HalfVector

from app.chat.model import Vector
from app.errors import EncoderUnavailable
from app.stores.database import Database


@dataclass(frozen=True, slots=True)
class EncoderRow:
    """An encoder as the embeddings refer to it."""

    id: int
    name: str
    dimension: int

    def halfvec(self, vector: Vector) -> HalfVector:
        """The vector as stored; EncoderUnavailable where its length is not the encoder's."""
        if len(vector) != self.dimension:
            raise EncoderUnavailable(
                f"The encoder gave a vector of {len(vector)} values where {self.name} "
                f"has {self.dimension}."
            )
        return HalfVector(list(vector))


class Encoders:
    """Looks encoders up, each once a process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, EncoderRow] = {}

    async def find(self, name: str) -> EncoderRow:
        """The encoder; EncoderUnavailable where the database was not prepared for it."""
        if name not in self._known:
            rows = await self._database.fetch(
                "SELECT id, name, dimension FROM encoders WHERE name = $1", name
            )
            if not rows:
                raise EncoderUnavailable("The database is not prepared for this encoder.")
            self._known[name] = EncoderRow(*rows[0])
        return self._known[name]
