"""The composition root: Settings → clients → Services. The only room that knows every other."""

from app.bootstrap.engine import connected, open_engine
from app.bootstrap.indexer import open_indexes, with_indexer
from app.bootstrap.reencoder import open_reencoder
from app.bootstrap.rotation import rotate_keys
from app.bootstrap.sample import seed_sample
from app.bootstrap.schema import migrate
from app.bootstrap.services import build_services, with_worker
from app.bootstrap.warming import open_warmer
from app.settings import ConfigurationError, Settings

__all__ = [
    "ConfigurationError",
    "Settings",
    "build_services",
    "connected",
    "migrate",
    "open_engine",
    "open_indexes",
    "open_reencoder",
    "open_warmer",
    "rotate_keys",
    "seed_sample",
    "with_indexer",
    "with_worker",
]
