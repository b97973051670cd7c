"""A search by a graph is a statement of `search_vectors` itself."""

from importlib import import_module

from migrations.script import drop_functions, for_nobody, for_the_service, run_script

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

FIRST = import_module("migrations.versions.0008_vector_indexes")
FORMER = import_module("migrations.versions.0025_searches_in_one")

# The graphs' statements were in a function that `search_vectors` called, whose rows were kept
# twice: 0.015 to 0.03 ms of a search. Now they stand where that call stood, and the owner writes
# `search_vectors` when graphs come and go.
CALL = """\
        RETURN QUERY SELECT * FROM graph_nearest(
            p_portfolio, p_encoder, p_query, p_limit, v_documents, least(p_limit, v_matching));
        IF FOUND THEN
            RETURN;
        END IF;
"""
HEAD, _, BODY = (
    str(FORMER.SEARCH_VECTORS)
    .replace(CALL, "        {graphs};\n")
    .strip()
    .removesuffix("$$;")
    .partition(" AS $$")
)

# `graph_statements` makes a block of them, as before. Where none is this portfolio's, or too few
# rows came back, what comes behind them is exact.
GRAPHS = f"""
CREATE OR REPLACE FUNCTION graph_statement(
    p_portfolio bigint, p_encoder integer, p_dimension integer, p_condition text) RETURNS text
LANGUAGE sql IMMUTABLE RETURN format(
    'RETURN QUERY SELECT h.*, similarity(n.distance) FROM ('
    'SELECT g.*, count(*) OVER () AS found FROM ('
    'SELECT e.chunk_id AS id, e.embedding::halfvec(%s) <=> p_query AS distance '
    'FROM rag_embedding e WHERE e.portfolio_id = %s AND e.encoder_id = %s%s '
    'ORDER BY 2 LIMIT p_limit) g) n, LATERAL passage(n.id) h '
    'WHERE n.found >= least(p_limit, v_matching) ORDER BY similarity(n.distance) DESC, n.id; '
    'IF FOUND THEN RETURN; END IF;',
    p_dimension, p_portfolio, p_encoder, p_condition);

CREATE OR REPLACE FUNCTION graph_branch(p_portfolio bigint, p_encoder integer, p_dimension integer)
RETURNS text LANGUAGE sql IMMUTABLE RETURN format(
    'IF p_portfolio = %s AND p_encoder = %s THEN IF v_documents IS NULL THEN %s ELSE %s END IF; '
    'END IF;', p_portfolio, p_encoder,
    graph_statement(p_portfolio, p_encoder, p_dimension, ''),
    graph_statement(p_portfolio, p_encoder, p_dimension,
        ' AND (SELECT c.document_id FROM rag_chunk c WHERE c.id = e.chunk_id) '
        '= ANY (v_documents)'));

CREATE FUNCTION search_statements() RETURNS text LANGUAGE sql STABLE
RETURN replace($body${BODY}$body$, '{{graphs}}', graph_statements());

CREATE OR REPLACE FUNCTION graphs_written() RETURNS boolean LANGUAGE sql STABLE RETURN EXISTS (
    SELECT FROM pg_proc p
     WHERE p.oid = to_regproc('search_vectors') AND p.prosrc = search_statements());

CREATE OR REPLACE FUNCTION write_graphs() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format($create${HEAD} AS %L$create$, search_statements());
END $$;

SELECT write_graphs();
"""  # noqa: S608
STATEMENTS = "search_statements()"


def upgrade() -> None:
    run_script(GRAPHS)
    for_nobody(STATEMENTS)
    drop_functions(FORMER.NEAREST)


def downgrade() -> None:
    run_script(FIRST.GRAPHS.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
    run_script(FORMER.GRAPHS)
    run_script(FORMER.SEARCH_VECTORS)
    for_the_service(FORMER.NEAREST)
    drop_functions(STATEMENTS)
