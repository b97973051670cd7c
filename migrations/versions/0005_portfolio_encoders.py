"""The encoder that serves a portfolio, and the one that is about to."""

from importlib import import_module

from migrations.script import drop_functions, for_nobody, for_the_service, run_script

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# The encoder that a portfolio has vectors of; tenant by tenant, because the policies bind the
# owner too.
COLUMNS = """
ALTER TABLE portfolios ADD COLUMN encoder_id integer, ADD COLUMN next_encoder_id integer;
DO $$
DECLARE
    v_tenant bigint;
BEGIN
    FOR v_tenant IN SELECT id FROM tenants LOOP
        PERFORM set_config('app.tenant_id', v_tenant::text, true);
        UPDATE portfolios p SET encoder_id = coalesce(
            (SELECT e.encoder_id FROM rag_embedding e WHERE e.portfolio_id = p.id
              ORDER BY e.portfolio_id, e.chunk_id DESC, e.encoder_id DESC LIMIT 1),
            (SELECT max(id) FROM encoders));
    END LOOP;
    PERFORM set_config('app.tenant_id', '', true);
END $$;
ALTER TABLE portfolios
    ALTER COLUMN encoder_id SET NOT NULL,
    ADD CONSTRAINT portfolios_encoder_id_fkey FOREIGN KEY (encoder_id) REFERENCES encoders,
    ADD CONSTRAINT portfolios_next_encoder_id_fkey
        FOREIGN KEY (next_encoder_id) REFERENCES encoders,
    ADD CONSTRAINT portfolios_next_encoder_id_check CHECK (next_encoder_id <> encoder_id);
"""

# As in 0003, and with the name of the portfolio's encoder.
LOAD_QUESTION = """
CREATE FUNCTION load_question(
    p_tenant bigint, p_agent_id bigint, p_agent_name text, p_portfolio_id bigint,
    p_conversation_id uuid,
    OUT tenant_epoch bigint,
    OUT agent_id bigint, OUT agent_name text, OUT system_prompt text, OUT provider text,
    OUT model text, OUT agent_portfolio_id bigint, OUT top_k integer, OUT max_tokens integer,
    OUT temperature double precision, OUT agent_version bigint, OUT agent_epoch bigint,
    OUT portfolio_id bigint, OUT portfolio_name text, OUT portfolio_version bigint,
    OUT portfolio_epoch bigint, OUT portfolio_encoder text,
    OUT conversation_found boolean, OUT questions text[], OUT answers text[]
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('app.tenant_id', p_tenant::text, true);
    SELECT t.cache_epoch,
           a.id, a.name, a.system_prompt, a.provider, a.model, a.portfolio_id, a.top_k,
           a.max_tokens, a.temperature, a.version, a.cache_epoch,
           p.id, p.name, p.version, p.cache_epoch, e.name
      INTO tenant_epoch,
           agent_id, agent_name, system_prompt, provider, model, agent_portfolio_id, top_k,
           max_tokens, temperature, agent_version, agent_epoch,
           portfolio_id, portfolio_name, portfolio_version, portfolio_epoch, portfolio_encoder
      FROM agents a
      JOIN tenants t ON t.id = a.tenant_id
      LEFT JOIN portfolios p ON p.id = coalesce(p_portfolio_id, a.portfolio_id)
      LEFT JOIN encoders e ON e.id = p.encoder_id
     WHERE a.id = coalesce(p_agent_id, (SELECT n.id FROM agents n WHERE n.name = p_agent_name));
    IF p_conversation_id IS NULL OR agent_id IS NULL THEN
        RETURN;
    END IF;
    SELECT EXISTS (
        SELECT FROM conversations c
         WHERE c.id = p_conversation_id AND c.agent_id = load_question.agent_id
    ) INTO conversation_found;
    IF NOT conversation_found THEN
        RETURN;
    END IF;
    -- Whole turns only: a question whose answer broke off would leave two in a row.
    SELECT array_agg(q.content ORDER BY m.seq), array_agg(m.content ORDER BY m.seq)
      INTO questions, answers
      FROM (SELECT l.seq, l.run_id, l.content FROM messages l
             WHERE l.conversation_id = p_conversation_id AND l.role = 'assistant'
               AND l.status = 'complete'
             ORDER BY l.seq DESC LIMIT 10) m
      JOIN runs r ON r.id = m.run_id
      JOIN messages q ON q.id = r.question_id;
END $$;
"""

# As in 0003, and refusing vectors of an encoder that does not serve the portfolio (any more).
SEARCH_VECTORS = """
CREATE FUNCTION search_vectors(
    p_tenant bigint, p_portfolio bigint, p_encoder integer, p_dimension integer, p_query halfvec,
    p_limit integer, p_filters jsonb, p_exact_below bigint, p_ef_search integer
) RETURNS TABLE (
    chunk_id bigint, document_id bigint, title text, uri text, text text, start_char integer,
    end_char integer, language text, score double precision
) LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
DECLARE
    v_matching bigint;
    v_serving integer;
    v_partition double precision;
    v_ef double precision;
    v_filter text := '';
    v_chunks bigint[];
    v_ids bigint[];
    v_distances double precision[];
BEGIN
    PERFORM set_config('app.tenant_id', p_tenant::text, true);
    SELECT p.chunk_count, p.encoder_id INTO v_matching, v_serving
      FROM portfolios p WHERE p.id = p_portfolio;
    IF NOT FOUND THEN
        RAISE no_data_found USING MESSAGE = 'portfolio';
    END IF;
    IF v_serving <> p_encoder THEN
        RAISE 'another encoder' USING ERRCODE = 'CS001';
    END IF;
    IF p_filters <> '{}' THEN
        SELECT array_agg(c.id) INTO v_chunks FROM rag_chunk c
         WHERE c.document_id = ANY (matching_documents(p_portfolio, p_filters));
        v_matching := coalesce(cardinality(v_chunks), 0);
        v_filter := 'AND e.chunk_id = ANY ($5)';
    END IF;
    IF v_matching >= p_exact_below AND v_matching > 0 THEN
        SELECT greatest(k.reltuples, v_matching) INTO v_partition FROM pg_class k
         WHERE k.oid = (SELECT e.tableoid FROM rag_embedding e
                         WHERE e.portfolio_id = p_portfolio LIMIT 1);
        v_ef := greatest(p_ef_search, ceil(2 * p_limit * v_partition / v_matching));
    END IF;
    IF v_ef <= 1000 AND v_matching >= p_exact_below * v_ef / p_ef_search THEN
        PERFORM set_config('hnsw.ef_search', v_ef::integer::text, true),
                set_config('hnsw.iterative_scan', 'relaxed_order', true);
        EXECUTE format(
            'SELECT array_agg(n.chunk_id), array_agg(n.distance) FROM ('
            'SELECT e.chunk_id, e.embedding::halfvec(%1$s) <=> $1::halfvec(%1$s) AS distance '
            'FROM rag_embedding e WHERE e.portfolio_id = $2 AND e.encoder_id = $3 %2$s '
            'ORDER BY e.embedding::halfvec(%1$s) <=> $1::halfvec(%1$s) LIMIT $4) n',
            p_dimension, v_filter)
        INTO v_ids, v_distances USING p_query, p_portfolio, p_encoder, p_limit, v_chunks;
    END IF;
    IF coalesce(cardinality(v_ids), 0) < least(p_limit, v_matching) THEN
        EXECUTE format(
            'SELECT array_agg(n.chunk_id), array_agg(n.distance) FROM ('
            'SELECT e.chunk_id, e.embedding <=> $1 AS distance '
            'FROM rag_embedding e WHERE e.portfolio_id = $2 AND e.encoder_id = $3 %s '
            'ORDER BY e.embedding <=> $1, e.chunk_id LIMIT $4) n', v_filter)
        INTO v_ids, v_distances USING p_query, p_portfolio, p_encoder, p_limit, v_chunks;
    END IF;
    -- Each statement here sees the database anew. What was found is whole if the encoder serves
    -- still: its vectors are dropped only after another took its place.
    PERFORM FROM portfolios p WHERE p.id = p_portfolio AND p.encoder_id = p_encoder;
    IF NOT FOUND THEN
        RAISE 'another encoder' USING ERRCODE = 'CS001';
    END IF;
    RETURN QUERY
        SELECT c.id, d.id, d.title, d.uri, c.text, c.start_char, c.end_char, c.language,
               1 - n.distance
          FROM unnest(v_ids, v_distances) AS n(id, distance)
          JOIN rag_chunk c ON c.id = n.id
          JOIN documents d ON d.id = c.document_id
         ORDER BY n.distance, c.id;
END $$;

CREATE FUNCTION portfolio_encoder(p_tenant bigint, p_portfolio bigint) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    PERFORM set_config('app.tenant_id', p_tenant::text, true);
    RETURN (SELECT e.name FROM portfolios p JOIN encoders e ON e.id = p.encoder_id
             WHERE p.id = p_portfolio);
END $$;
"""

# For the owner alone. Partial, one for each encoder and partition: vectors of two encoders never
# share a graph. Where there are vectors already, the index is made without blocking their
# writers, which a transaction cannot do: `app.stores.encoder_indexes` makes it.
ENSURE_ENCODER = """
CREATE FUNCTION ensure_encoder(p_name text, p_dimension integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    v_encoder encoders;
    v_partition text;
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
    FOR part IN 0..15 LOOP
        v_partition := 'rag_embedding_p' || lpad(part::text, 2, '0');
        IF pg_relation_size(v_partition) = 0
           AND to_regclass(encoder_index(v_partition, v_encoder.id)) IS NULL THEN
            EXECUTE encoder_index_definition(v_partition, v_encoder.id, p_dimension, '');
        END IF;
    END LOOP;
    RETURN v_encoder.id;
END $$;

CREATE FUNCTION encoder_index(p_partition text, p_encoder integer) RETURNS text
LANGUAGE sql IMMUTABLE RETURN p_partition || '_hnsw_e' || p_encoder;

CREATE FUNCTION encoder_index_definition(
    p_partition text, p_encoder integer, p_dimension integer, p_how text) RETURNS text
LANGUAGE sql IMMUTABLE RETURN format(
    'CREATE INDEX %s %I ON %I USING hnsw ((embedding::halfvec(%s)) halfvec_cosine_ops) '
    'WITH (m = 16, ef_construction = 64) WHERE encoder_id = %s',
    p_how, encoder_index(p_partition, p_encoder), p_partition, p_dimension, p_encoder);
"""

LOAD = "load_question(bigint, bigint, text, bigint, uuid)"
SEARCH = (
    "search_vectors(bigint, bigint, integer, integer, halfvec, integer, jsonb, bigint, integer)"
)
FORMER_SEARCH = "matching_documents(bigint, jsonb)"
FORMER_TURN = "store_turn(bigint, jsonb)"
ENCODER = "portfolio_encoder(bigint, bigint)"
ENSURE = "ensure_encoder(text, integer)"
INDEX = "encoder_index(text, integer)"
DEFINITION = "encoder_index_definition(text, integer, integer, text)"


def upgrade() -> None:
    run_script(COLUMNS)
    drop_functions(LOAD, SEARCH, ENSURE)
    for script in (LOAD_QUESTION, SEARCH_VECTORS, ENSURE_ENCODER):
        run_script(script)
    for_the_service(LOAD, SEARCH, ENCODER)
    for_nobody(ENSURE, INDEX, DEFINITION)


def downgrade() -> None:
    former = import_module("migrations.versions.0003_functions")
    drop_functions(LOAD, SEARCH, ENCODER, ENSURE, DEFINITION, INDEX, FORMER_SEARCH, FORMER_TURN)
    for script in (former.QUESTION_PATH, former.VECTOR_SEARCH, former.ENCODERS):
        run_script(script)
    for_the_service(LOAD, SEARCH, FORMER_SEARCH, FORMER_TURN)
    for_nobody(ENSURE)
    run_script("ALTER TABLE portfolios DROP COLUMN encoder_id, DROP COLUMN next_encoder_id")
