"""The sources, a module each. Their names are those of `sources` in the contract."""

VECTOR = "vector"
KEYWORD = "keyword"
GRAPH = "graph"
PERSONA = "persona"
DOMAIN = "domain"
KNOWN_SOURCES = (VECTOR, KEYWORD, GRAPH, PERSONA, DOMAIN)
