"""A graph of its own for every portfolio that outgrows exact search."""

from importlib import import_module

from migrations.script import run_script

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# STABLE, so that all of it sees what the caller's statement sees: one state of the database, in
# which a portfolio's encoder has all of its vectors.
#
# The graph's statement is planned each time, with the portfolio and the encoder as literals, which
# prove the index's predicate; both are numbers by their type. `enable_sort` keeps Postgres from
# sorting a large portfolio that it takes for a small one. The others are planned once a session:
# ordered without the cast, no index can serve them, so they are exact.
#
# HNSW finds the k nearest of what a filter leaves among the k / share nearest of all; twice that
# is looked through. Its time goes with `ef_search`, that of an exact scan with the number of
# chunks, and at `p_ef_search` they are equal at `p_exact_below` chunks.
#
# A vector of length 0 has no direction: it is the last in any exact order and in no graph, which
# then either comes back short or gives what is nearer.
SEARCH_VECTORS = """
CREATE FUNCTION search_vectors(
    p_tenant bigint, p_portfolio bigint, p_encoder integer, p_dimension integer, p_query halfvec,
    p_limit integer, p_filters jsonb, p_exact_below bigint, p_ef_search integer
) RETURNS TABLE (
    chunk_id bigint, document_id bigint, title text, uri text, text text, start_char integer,
    end_char integer, language text, ordinal integer, tail text, score double precision
) LANGUAGE plpgsql STABLE ROWS 20 SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_chunks bigint;
    v_serving integer;
    v_matching bigint;
    v_documents bigint[];
    v_filter text := '';
    v_graph boolean;
    v_ef double precision;
    v_ids bigint[];
    v_scores double precision[];
BEGIN
    PERFORM set_config('app.tenant_id', p_tenant::text, true);
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
    -- The catalog is asked last, and by itself: it takes longer than the rest of the conditions.
    v_graph := v_matching >= p_exact_below * v_ef / p_ef_search AND v_ef <= 1000
        AND l2_norm(p_query) > 0;
    IF v_graph THEN
        v_graph := has_vector_index(p_portfolio, p_encoder);
    END IF;
    IF v_graph THEN
        PERFORM set_config('hnsw.ef_search', ceil(v_ef)::text, true),
                set_config('hnsw.iterative_scan', 'relaxed_order', true),
                set_config('enable_sort', 'off', true);
        IF v_documents IS NOT NULL THEN
            v_filter := 'AND (SELECT c.document_id FROM rag_chunk c WHERE c.id = e.chunk_id) '
                        '= ANY ($3)';
        END IF;
        EXECUTE format(
            'SELECT array_agg(n.id ORDER BY n.distance, n.id), '
            'array_agg(1 - n.distance ORDER BY n.distance, n.id) FROM ('
            'SELECT e.chunk_id AS id, e.embedding::halfvec(%1$s) <=> $1::halfvec(%1$s) AS distance '
            'FROM rag_embedding e WHERE e.portfolio_id = %2$s AND e.encoder_id = %3$s %4$s '
            'ORDER BY e.embedding::halfvec(%1$s) <=> $1::halfvec(%1$s) LIMIT $2) n',
            p_dimension, p_portfolio, p_encoder, v_filter)
        INTO v_ids, v_scores USING p_query, p_limit, v_documents;
    END IF;
    IF coalesce(cardinality(v_ids), 0) < least(p_limit, v_matching) THEN
        IF v_documents IS NULL THEN
            SELECT array_agg(n.id ORDER BY n.distance, n.id),
                   array_agg(similarity(n.distance) ORDER BY n.distance, n.id)
              INTO v_ids, v_scores
              FROM (SELECT e.chunk_id AS id, e.embedding <=> p_query AS distance
                      FROM rag_embedding e
                     WHERE e.portfolio_id = p_portfolio AND e.encoder_id = p_encoder
                     ORDER BY e.embedding <=> p_query, e.chunk_id LIMIT p_limit) n;
        ELSE
            SELECT array_agg(n.id ORDER BY n.distance, n.id),
                   array_agg(similarity(n.distance) ORDER BY n.distance, n.id)
              INTO v_ids, v_scores
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

# The cosine; a vector without a direction has none, and counts as the opposite of everything.
SIMILARITY = """
CREATE FUNCTION similarity(p_distance double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE RETURN CASE p_distance WHEN 'NaN' THEN -1 ELSE 1 - p_distance END;
"""

# Names and validity are looked up in the catalog: there is no state that could be wrong.
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
    for script in (VECTOR_INDEX, SIMILARITY, SEARCH_VECTORS, OWNERS):
        run_script(script)
    for_the_service(SEARCH, NAME, HAS, SIMILAR)
    for_nobody(PORTFOLIOS, PARTITION, DEFINITION, ENSURE)


def downgrade() -> None:
    """The shared indexes come back with the next start of the former version, which makes those
    it finds missing."""
    former = import_module("migrations.versions.0005_portfolio_encoders")
    run_script(DROP_INDEXES)
    drop(SEARCH, FORMER_ENCODER, SIMILAR, HAS, DEFINITION, PARTITION, PORTFOLIOS, ENSURE, NAME)
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
