"""Deadlines for rows that are about what is answered, not how soon. Several processes keep a small
machine busy, and what came too late would count as a source or a cache that is away."""

SOURCE_SECONDS = "20"
UNHURRIED = {
    "CITESTREAM_CACHE__TIMEOUT_SECONDS": "5",
    "CITESTREAM_RETRIEVAL__SOURCE_DEADLINE_SECONDS": SOURCE_SECONDS,
    "CITESTREAM_RETRIEVAL__GRAPH_DEADLINE_SECONDS": SOURCE_SECONDS,
    "CITESTREAM_PROVIDER__REWRITE_SECONDS": SOURCE_SECONDS,
    "CITESTREAM_DATABASE__TIMEOUT_SECONDS": SOURCE_SECONDS,
}
