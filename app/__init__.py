"""Citestream: a self-hosted chat service over a team's own documents.

Python users need two names, both exported here:

    async with open_engine(Settings()) as engine:
        answer = await engine.ask(agent="default", message="What React projects are there?")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.bootstrap import Settings, open_engine

__version__ = "0.1.0"
__all__ = ["Settings", "__version__", "open_engine"]


def __getattr__(name: str) -> Any:
    """Import the composition root on first use, so that `import app.encoder` stays light."""
    if name in {"Settings", "open_engine"}:
        from app import bootstrap

        return getattr(bootstrap, name)
    raise AttributeError(name)
