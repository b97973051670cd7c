"""A search by a graph is a statement of `search_vectors` itself."""

from importlib import import_module

from migrations.script import drop_functions, for_the_service, run_script

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

FORMER = import_module("migrations.versions.0025_searches_in_one")
FIRST = import_module("migrations.versions.0008_vector_indexes")

# What 0008 and 0025 say of it holds. The graphs' statements were in a function that this one
# called (`graph_nearest`), whose rows were kept twice: 0.015 to 0.03 ms of a search.
SIGNATURE = """\
search_vectors(
    p_tenant bigint, p_portfolio bigint, p_encoder integer, p_dimension integer, p_query halfvec,
    p_limit integer, p_filters jsonb, p_exact_below bigint, p_ef_search integer
) RETURNS TABLE (
    chunk_id bigint, document_id bigint, title text, uri text, text text, start_char integer,
    end_char integer, language text, ordinal integer, tail text, score double precision
) LANGUAGE plpgsql STABLE ROWS 20"""
BODY = """
#variable_conflict use_column
DECLARE
    v_set text;
    v_chunks bigint;
    v_serving integer;
    v_matching bigint;
    v_documents bigint[];
    v_ef double precision;
BEGIN
    v_set := set_config('app.tenant_id', p_tenant::text, true)
          || set_config('plan_cache_mode', 'force_generic_plan', true)
          || set_config('enable_seqscan', 'off', true);
    SELECT p.chunk_count, p.encoder_id INTO v_chunks, v_serving
      FROM portfolios p WHERE p.id = p_portfolio;
    IF NOT FOUND THEN
        RAISE no_data_found USING MESSAGE = 'portfolio';
    END IF;
    IF v_serving <> p_encoder THEN
        RAISE 'another encoder' USING ERRCODE = 'CS001';
    END IF;
    v_matching := v_chunks;
    IF p_filters <> '{}' THEN
        SELECT coalesce(sum(d.chunk_count), 0), array_agg(d.id) INTO v_matching, v_documents
          FROM documents d WHERE d.portfolio_id = p_portfolio AND d.metadata @> p_filters;
    END IF;
    IF v_matching = 0 THEN
        RETURN;
    END IF;
    v_ef := greatest(p_ef_search, 2.0 * p_limit * v_chunks / v_matching);
    IF v_matching >= p_exact_below * v_ef / p_ef_search AND v_ef <= 1000
        AND l2_norm(p_query) > 0 THEN
        v_set := set_config('hnsw.ef_search', ceil(v_ef)::text, true)
              || set_config('hnsw.iterative_scan', 'relaxed_order', true)
              || set_config('enable_sort', 'off', true);
        {graphs}
    END IF;
    IF v_documents IS NULL THEN
        RETURN QUERY SELECT h.*, similarity(n.distance)
          FROM (SELECT e.chunk_id AS id, e.embedding <=> p_query AS distance
                  FROM rag_embedding e
                 WHERE e.portfolio_id = p_portfolio AND e.encoder_id + 0 = p_encoder
                 ORDER BY e.embedding <=> p_query, e.chunk_id LIMIT p_limit) n,
               LATERAL passage(n.id) h
         ORDER BY n.distance, n.id;
    ELSE
        RETURN QUERY SELECT h.*, similarity(n.distance)
          FROM (SELECT e.chunk_id AS id, e.embedding <=> p_query AS distance
                  FROM rag_embedding e
                 WHERE e.portfolio_id = p_portfolio AND e.encoder_id = p_encoder
                   AND e.chunk_id = ANY (ARRAY(
                       SELECT c.id FROM rag_chunk c WHERE c.document_id = ANY (v_documents)))
                 ORDER BY e.embedding <=> p_query, e.chunk_id LIMIT p_limit) n,
               LATERAL passage(n.id) h
         ORDER BY n.distance, n.id;
    END IF;
END """

GRAPHS = r"""
CREATE OR REPLACE FUNCTION graph_statement(
    p_portfolio bigint, p_encoder integer, p_dimension integer, p_condition text) RETURNS text
LANGUAGE sql IMMUTABLE RETURN format(
    'RETURN QUERY SELECT h.*, similarity(n.distance) FROM ('
    'SELECT g.*, count(*) OVER () AS found FROM ('
    'SELECT e.chunk_id AS id, e.embedding::halfvec(%s) <=> p_query AS distance '
    'FROM rag_embedding e WHERE e.portfolio_id = %s AND e.encoder_id = %s%s '
    'ORDER BY 2 LIMIT p_limit) g) n, LATERAL passage(n.id) h '
    'WHERE n.found >= least(p_limit, v_matching) ORDER BY similarity(n.distance) DESC, n.id;',
    p_dimension, p_portfolio, p_encoder, p_condition);

CREATE OR REPLACE FUNCTION graph_branch(p_portfolio bigint, p_encoder integer, p_dimension integer)
RETURNS text LANGUAGE sql IMMUTABLE RETURN format(
    'IF p_portfolio = %s AND p_encoder = %s THEN '
    'IF v_documents IS NULL THEN %s ELSE %s END IF; IF FOUND THEN RETURN; END IF; END IF;',
    p_portfolio, p_encoder, graph_statement(p_portfolio, p_encoder, p_dimension, ''),
    graph_statement(p_portfolio, p_encoder, p_dimension,
        ' AND (SELECT c.document_id FROM rag_chunk c WHERE c.id = e.chunk_id) '
        '= ANY (v_documents)'));

CREATE OR REPLACE FUNCTION graph_statements() RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_tree text;
BEGIN
    SELECT graph_tree(array_agg(g.key[1]::bigint ORDER BY g.key),
                      array_agg(g.key[2]::integer ORDER BY g.key),
                      array_agg(g.dimension ORDER BY g.key))
      INTO v_tree
      FROM (SELECT regexp_match(c.relname, '_p([0-9]+)_e([0-9]+)$')::bigint[] AS key,
                   a.atttypmod AS dimension
              FROM pg_inherits h
              JOIN pg_index i ON i.indrelid = h.inhrelid AND i.indisvalid
              JOIN pg_class c ON c.oid = i.indexrelid
                             AND c.relname LIKE 'rag\_embedding\_hnsw\_p%'
              JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = 1
             WHERE h.inhparent = 'rag_embedding'::regclass) g;
    RETURN replace($body$BODY_HERE$body$, '{graphs}', coalesce(v_tree, ''));
END $$;

CREATE OR REPLACE FUNCTION graphs_written() RETURNS boolean LANGUAGE sql STABLE RETURN EXISTS (
    SELECT FROM pg_proc p
     WHERE p.oid = to_regproc('search_vectors') AND p.prosrc = graph_statements());

CREATE OR REPLACE FUNCTION write_graphs() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format($create$CREATE OR REPLACE FUNCTION SIGNATURE_HERE AS %L$create$,
                   graph_statements());
END $$;

SELECT write_graphs();
"""


def upgrade() -> None:
    run_script(GRAPHS.replace("BODY_HERE", BODY).replace("SIGNATURE_HERE", SIGNATURE))
    drop_functions(FORMER.NEAREST)


def downgrade() -> None:
    run_script(FIRST.GRAPHS.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
    run_script(FORMER.GRAPHS)
    run_script(FORMER.SEARCH_VECTORS)
    for_the_service(FORMER.NEAREST)
