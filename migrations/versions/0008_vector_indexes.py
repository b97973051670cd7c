"""A graph of its own for every portfolio that outgrows exact search."""

from importlib import import_module

from migrations.script import run_script

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# STABLE, so that all of it sees what the caller's statement sees: one state of the database, in
# which a portfolio's encoder has all of its vectors. Its statements are planned once a session.
# Ordered without the cast, no index can serve them, so here they are exact.
#
# HNSW finds the k nearest of what a filter leaves among the k / share nearest of all; twice that
# is looked through. Its time goes with `ef_search`, that of an exact scan with the number of
# chunks, and at `p_ef_search` they are equal at `p_exact_below` chunks.
#
# A vector of length 0 has no direction: it is the last in any exact order and in no graph, which
# then either comes back short or gives what is nearer.
#
# An assignment costs a tenth of PERFORM, which is a statement; hence `v_set`. `p_dimension` is
# there for a service of the former version, which goes on meanwhile.
SEARCH_VECTORS = """
CREATE FUNCTION search_vectors(
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
    v_found record;
    v_ids bigint[];
    v_scores double precision[];
BEGIN
    v_set := set_config('app.tenant_id', p_tenant::text, true)
          || set_config('plan_cache_mode', 'force_generic_plan', true);
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
        v_found := graph_nearest(p_portfolio, p_encoder, p_query, p_limit, v_documents);
        v_ids := v_found.ids;
        v_scores := v_found.scores;
    END IF;
    IF coalesce(cardinality(v_ids), 0) < least(p_limit, v_matching) THEN
        IF v_documents IS NULL THEN
            SELECT array_agg(n.id), array_agg(similarity(n.distance)) INTO v_ids, v_scores
              FROM (SELECT e.chunk_id AS id, e.embedding <=> p_query AS distance
                      FROM rag_embedding e
                     WHERE e.portfolio_id = p_portfolio AND e.encoder_id = p_encoder
                     ORDER BY e.embedding <=> p_query, e.chunk_id LIMIT p_limit) n;
        ELSE
            SELECT array_agg(n.id), array_agg(similarity(n.distance)) INTO v_ids, v_scores
              FROM (SELECT e.chunk_id AS id, e.embedding <=> p_query AS distance
                      FROM rag_embedding e
                     WHERE e.portfolio_id = p_portfolio AND e.encoder_id = p_encoder
                       AND e.chunk_id = ANY (ARRAY(
                           SELECT c.id FROM rag_chunk c WHERE c.document_id = ANY (v_documents)))
                     ORDER BY e.embedding <=> p_query, e.chunk_id LIMIT p_limit) n;
        END IF;
    END IF;
    RETURN QUERY SELECT h.* FROM chunk_hits(v_ids, v_scores) h;
END $$;
"""

# `graph_nearest` has a statement for each graph, with the portfolio and the encoder as literals:
# they prove the index's predicate, and the session keeps the plan. (Planned each time, a search
# takes 0.1 to 0.15 ms more, half of what it has.) `enable_sort` is off when a plan is made, which
# keeps Postgres from sorting a large portfolio that it takes for a small one.
#
# The graph's order is that of rounded vectors, and relaxed where it had to go on: `chunk_hits`
# puts it right. (`array_agg` would sort twice, or not at all: Postgres trusts an index's order.)
#
# The owner writes it anew when graphs come and go. Until it is written it knows none of a new
# graph, and the search is exact; without its index a statement is exact itself.
GRAPHS = r"""
CREATE FUNCTION graph_statement(
    p_portfolio bigint, p_encoder integer, p_dimension integer, p_condition text) RETURNS text
LANGUAGE sql IMMUTABLE RETURN format(
    'SELECT array_agg(n.id), array_agg(similarity(n.distance)) INTO ids, scores FROM ('
    'SELECT e.chunk_id AS id, e.embedding::halfvec(%s) <=> p_query AS distance '
    'FROM rag_embedding e WHERE e.portfolio_id = %s AND e.encoder_id = %s%s '
    'ORDER BY 2 LIMIT p_limit) n;', p_dimension, p_portfolio, p_encoder, p_condition);

CREATE FUNCTION graph_branch(p_portfolio bigint, p_encoder integer, p_dimension integer)
RETURNS text LANGUAGE sql IMMUTABLE RETURN format(
    'IF p_portfolio = %s AND p_encoder = %s THEN IF p_documents IS NULL THEN %s ELSE %s END IF; '
    'END IF;', p_portfolio, p_encoder,
    graph_statement(p_portfolio, p_encoder, p_dimension, ''),
    graph_statement(p_portfolio, p_encoder, p_dimension,
        ' AND (SELECT c.document_id FROM rag_chunk c WHERE c.id = e.chunk_id) '
        '= ANY (p_documents)'));

-- A tree, by portfolio and encoder: with a thousand graphs ten comparisons lead to one.
CREATE FUNCTION graph_tree(p_portfolios bigint[], p_encoders integer[], p_dimensions integer[])
RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    v_half integer := cardinality(p_portfolios) / 2;
BEGIN
    IF v_half = 0 THEN
        RETURN graph_branch(p_portfolios[1], p_encoders[1], p_dimensions[1]);
    END IF;
    RETURN format(
        'IF (p_portfolio, p_encoder) <= (%s, %s) THEN %s ELSE %s END IF;',
        p_portfolios[v_half], p_encoders[v_half],
        graph_tree(p_portfolios[:v_half], p_encoders[:v_half], p_dimensions[:v_half]),
        graph_tree(p_portfolios[v_half + 1:], p_encoders[v_half + 1:], p_dimensions[v_half + 1:]));
END $$;

CREATE FUNCTION graph_statements() RETURNS text LANGUAGE plpgsql STABLE AS $$
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
    RETURN format('BEGIN %s END', v_tree);
END $$;

CREATE FUNCTION graphs_written() RETURNS boolean LANGUAGE sql STABLE RETURN EXISTS (
    SELECT FROM pg_proc p
     WHERE p.oid = to_regproc('graph_nearest') AND p.prosrc = graph_statements());

CREATE FUNCTION write_graphs() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'CREATE OR REPLACE FUNCTION graph_nearest('
        'p_portfolio bigint, p_encoder integer, p_query halfvec, p_limit integer, '
        'p_documents bigint[], OUT ids bigint[], OUT scores double precision[]) '
        'LANGUAGE plpgsql STABLE AS %L', graph_statements());
END $$;

SELECT write_graphs();
"""

# Asked for each row, the setting takes as long as the distance does.
TENANT = "NULLIF(current_setting('app.tenant_id', true), '')::bigint"
POLICY = """
ALTER POLICY tenant_isolation ON rag_embedding
    USING (tenant_id = {condition}) WITH CHECK (tenant_id = {condition})
"""

# The cosine; a vector without a direction has none, and counts as the opposite of everything.
SIMILARITY = """
CREATE FUNCTION similarity(p_distance double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE RETURN CASE p_distance WHEN 'NaN' THEN -1 ELSE 1 - p_distance END;
"""

# Names and validity are looked up in the catalog, and kept nowhere else.
VECTOR_INDEX = """
CREATE FUNCTION vector_index(p_portfolio bigint, p_encoder integer) RETURNS text
LANGUAGE sql IMMUTABLE RETURN 'rag_embedding_hnsw_p' || p_portfolio || '_e' || p_encoder;

CREATE FUNCTION has_vector_index(p_portfolio bigint, p_encoder integer) RETURNS boolean
LANGUAGE sql STABLE RETURN EXISTS (
    SELECT FROM pg_index i
     WHERE i.indexrelid = to_regclass(vector_index(p_portfolio, p_encoder)) AND i.indisvalid);
"""

# For the owner alone. Tenant by tenant, because the policies bind the owner too; no name of a
# portfolio leaves. The next encoder's index is made while its vectors are, before they serve.
OWNERS = """
CREATE FUNCTION portfolios_with_chunks(p_at_least bigint) RETURNS TABLE (
    portfolio_id bigint, encoder_id integer, dimension integer, chunk_count bigint
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_tenant bigint;
BEGIN
    FOR v_tenant IN SELECT id FROM tenants LOOP
        PERFORM set_config('app.tenant_id', v_tenant::text, true);
        RETURN QUERY
            SELECT p.id, e.id, e.dimension, p.chunk_count
              FROM portfolios p JOIN encoders e ON e.id IN (p.encoder_id, p.next_encoder_id)
             WHERE p.chunk_count >= p_at_least;
    END LOOP;
    PERFORM set_config('app.tenant_id', '', true);
END $$;

CREATE FUNCTION partition_of(p_portfolio bigint) RETURNS text
LANGUAGE sql STABLE RETURN (
    SELECT 'rag_embedding_p' || lpad(part::text, 2, '0') FROM generate_series(0, 15) part
     WHERE satisfies_hash_partition('rag_embedding'::regclass, 16, part, p_portfolio));

CREATE FUNCTION vector_index_definition(
    p_portfolio bigint, p_encoder integer, p_dimension integer) RETURNS text
LANGUAGE sql STABLE RETURN format(
    'CREATE INDEX CONCURRENTLY %I ON %I USING hnsw ((embedding::halfvec(%s)) halfvec_cosine_ops) '
    'WITH (m = 16, ef_construction = 64) WHERE portfolio_id = %s AND encoder_id = %s',
    vector_index(p_portfolio, p_encoder), partition_of(p_portfolio), p_dimension, p_portfolio,
    p_encoder);

CREATE FUNCTION ensure_encoder(p_name text, p_dimension integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    v_encoder encoders;
BEGIN
    IF p_dimension NOT BETWEEN 1 AND 4000 THEN
        RAISE EXCEPTION 'An encoder has 1 to 4000 dimensions, not %.', p_dimension;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('ensure_encoder'));
    SELECT * INTO v_encoder FROM encoders WHERE name = p_name;
    IF NOT FOUND THEN
        INSERT INTO encoders (name, dimension) VALUES (p_name, p_dimension)
        RETURNING * INTO v_encoder;
    ELSIF v_encoder.dimension <> p_dimension THEN
        RAISE EXCEPTION 'The encoder "%" has % dimensions here, not %; give the new one a name '
            'of its own.', p_name, v_encoder.dimension, p_dimension;
    END IF;
    RETURN v_encoder.id;
END $$;
"""

# In the transaction, which keeps writers out for a moment. Until the builder
# (`app.stores.vector_indexes`) has made those of the other kind, every search is exact.
DROP_INDEXES = """
DO $$
DECLARE
    v_index regclass;
BEGIN
    FOR v_index IN
        SELECT i.indexrelid FROM pg_inherits h JOIN pg_index i ON i.indrelid = h.inhrelid
          JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
         WHERE h.inhparent = 'rag_embedding'::regclass AND a.amname = 'hnsw'
    LOOP
        EXECUTE format('DROP INDEX %s', v_index);
    END LOOP;
END $$;
"""

SEARCH = (
    "search_vectors(bigint, bigint, integer, integer, halfvec, integer, jsonb, bigint, integer)"
)
NEAREST = "graph_nearest(bigint, integer, halfvec, integer, bigint[])"
STATEMENT = "graph_statement(bigint, integer, integer, text)"
BRANCH = "graph_branch(bigint, integer, integer)"
TREE = "graph_tree(bigint[], integer[], integer[])"
STATEMENTS = "graph_statements()"
WRITTEN = "graphs_written()"
WRITE = "write_graphs()"
NAME = "vector_index(bigint, integer)"
SIMILAR = "similarity(double precision)"
HAS = "has_vector_index(bigint, integer)"
ENSURE = "ensure_encoder(text, integer)"
PORTFOLIOS = "portfolios_with_chunks(bigint)"
PARTITION = "partition_of(bigint)"
DEFINITION = "vector_index_definition(bigint, integer, integer)"
FORMER_ENCODER = "portfolio_encoder(bigint, bigint)"
FORMER_NAME = "encoder_index(text, integer)"
FORMER_DEFINITION = "encoder_index_definition(text, integer, integer, text)"


def upgrade() -> None:
    run_script(DROP_INDEXES)
    drop(SEARCH, ENSURE, FORMER_DEFINITION, FORMER_NAME)
    for script in (VECTOR_INDEX, SIMILARITY, GRAPHS, SEARCH_VECTORS, OWNERS):
        run_script(script)
    run_script(POLICY.format(condition=f"(SELECT {TENANT})"))
    for_the_service(SEARCH, NEAREST, SIMILAR)
    for_nobody(NAME, HAS, STATEMENT, BRANCH, TREE, STATEMENTS, WRITTEN, WRITE)
    for_nobody(PORTFOLIOS, PARTITION, DEFINITION, ENSURE)


def downgrade() -> None:
    """The shared indexes come back with the next start of the former version, which makes those
    it finds missing."""
    former = import_module("migrations.versions.0005_portfolio_encoders")
    run_script(DROP_INDEXES)
    run_script(POLICY.format(condition=TENANT))
    drop(SEARCH, FORMER_ENCODER, NEAREST, WRITE, WRITTEN, STATEMENTS, TREE, BRANCH)
    drop(STATEMENT, SIMILAR, HAS, DEFINITION, PARTITION, PORTFOLIOS, ENSURE, NAME)
    for script in (former.SEARCH_VECTORS, former.ENSURE_ENCODER):
        run_script(script)
    former.for_the_service(SEARCH, FORMER_ENCODER)
    former.for_nobody(ENSURE, FORMER_NAME, FORMER_DEFINITION)


def drop(*signatures: str) -> None:
    for signature in signatures:
        run_script(f"DROP FUNCTION {signature}")


def for_the_service(*signatures: str) -> None:
    for_nobody(*signatures)
    for signature in signatures:
        run_script(f"GRANT EXECUTE ON FUNCTION {signature} TO citestream_app")


def for_nobody(*signatures: str) -> None:
    for signature in signatures:
        run_script(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
