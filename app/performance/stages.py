"""The stages of a request. A retrieval source is a stage too, under its own name."""

QUEUE = "queue"
AUTH = "auth"
LOAD = "load"
ANALYZE = "analyze"
CACHE = "cache"
EMBED = "embed"
FUSE = "fuse"
PROMPT = "prompt"
FIRST_TOKEN = "first_token"  # noqa: S105 — from the request's beginning
BETWEEN_TOKENS = "between_tokens"
PERSIST = "persist"
TOTAL = "total"  # until the answer is stored
CACHED_TOTAL = "cached_total"  # the same of an answer that was found in a cache
