"""A search's chunks are looked up in the statement that finds them."""

from importlib import import_module

from migrations.script import drop_functions, for_the_service, run_script

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

FORMER = import_module("migrations.versions.0008_vector_indexes")

# A part of the statement that calls it. `OFFSET 0` has the chunks looked up one by one: of a limit
# that it does not know Postgres expects a tenth of all chunks, and would join whole tables.
PASSAGE = """
CREATE FUNCTION passage(p_chunk bigint) RETURNS TABLE (
    chunk_id bigint, document_id bigint, title text, uri text, text text, start_char integer,
    end_char integer, language text, ordinal integer, tail text
) LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT c.id, d.id, d.title, d.uri, c.text, c.start_char, c.end_char, c.language, c.ordinal,
           c.tail
      FROM rag_chunk c JOIN documents d ON d.id = c.document_id
     WHERE c.id = p_chunk OFFSET 0
$$;
"""

# As 0008's but for three things.
#
# It collected ids and scores, and looked the chunks up in a statement of its own (`chunk_hits`).
# Now an exact search takes 0.02 to 0.05 ms less, and one by a graph 0 to 0.02. Of what the graph
# gives nothing is looked up or returned where it is fewer than `p_least`.
#
# The plans of exact searches, which a session makes once for all portfolios, went by how many
# chunks those of a partition have on average: with one of 100,000 and one of 100 both were read
# whole for either. Without sequential scans each reads its own.
#
# `+ 0` keeps the encoder out of what is looked for in the index, whose first column is the
# portfolio and whose second the chunk: Postgres went from each chunk to the next, which takes a
# tenth longer than to read past another encoder's vectors while there are such.
SEARCH_VECTORS = """
CREATE OR REPLACE FUNCTION search_vectors(
    p_tenant bigint, p_portfolio bigint, p_encoder integer, p_dimension integer, p_query halfvec,
    p_limit integer, p_filters jsonb, p_exact_below bigint, p_ef_search integer
) RETURNS TABLE (
    chunk_id bigint, document_id bigint, title text, uri text, text text, start_char integer,
    end_char integer, language text, ordinal integer, tail text, score double precision
) LANGUAGE plpgsql STABLE ROWS 20 AS $$
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
        RETURN QUERY SELECT * FROM graph_nearest(
            p_portfolio, p_encoder, p_query, p_limit, v_documents, least(p_limit, v_matching));
        IF FOUND THEN
            RETURN;
        END IF;
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
END $$;
"""

# The graph's order is that of rounded vectors, and relaxed where it had to go on. Sorted by the
# distance Postgres would trust it; by what is made of the distance it does not.
GRAPHS = r"""
CREATE OR REPLACE FUNCTION graph_statement(
    p_portfolio bigint, p_encoder integer, p_dimension integer, p_condition text) RETURNS text
LANGUAGE sql IMMUTABLE RETURN format(
    'RETURN QUERY SELECT h.*, similarity(n.distance) FROM ('
    'SELECT g.*, count(*) OVER () AS found FROM ('
    'SELECT e.chunk_id AS id, e.embedding::halfvec(%s) <=> p_query AS distance '
    'FROM rag_embedding e WHERE e.portfolio_id = %s AND e.encoder_id = %s%s '
    'ORDER BY 2 LIMIT p_limit) g) n, LATERAL passage(n.id) h '
    'WHERE n.found >= p_least ORDER BY similarity(n.distance) DESC, n.id;',
    p_dimension, p_portfolio, p_encoder, p_condition);

DROP FUNCTION graph_nearest(bigint, integer, halfvec, integer, bigint[]);
CREATE OR REPLACE FUNCTION write_graphs() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'CREATE OR REPLACE FUNCTION graph_nearest('
        'p_portfolio bigint, p_encoder integer, p_query halfvec, p_limit integer, '
        'p_documents bigint[], p_least bigint) RETURNS TABLE ('
        'chunk_id bigint, document_id bigint, title text, uri text, text text, '
        'start_char integer, end_char integer, language text, ordinal integer, tail text, '
        'score double precision) LANGUAGE plpgsql STABLE ROWS 20 AS %L', graph_statements());
END $$;

SELECT write_graphs();
"""

PASSAGES = "passage(bigint)"
NEAREST = "graph_nearest(bigint, integer, halfvec, integer, bigint[], bigint)"


def upgrade() -> None:
    run_script(PASSAGE)
    run_script(GRAPHS)
    run_script(SEARCH_VECTORS)
    for_the_service(PASSAGES, NEAREST)


def downgrade() -> None:
    drop_functions(NEAREST)
    run_script(_replacing(FORMER.GRAPHS))
    run_script(_replacing(FORMER.SEARCH_VECTORS))
    for_the_service(FORMER.NEAREST)
    drop_functions(PASSAGES)


def _replacing(script: str) -> str:
    return script.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
