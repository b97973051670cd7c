"""What the stores call: one round trip each, and the few things done across tenants."""

from migrations.script import run_script

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Run as the caller, so row level security holds inside them. The tenant is set for the
# transaction only; with autocommit that is the call itself. Their plans do not depend on the
# parameters, so they are kept (the session's default is to plan anew, for the vector search).
QUESTION_PATH = """
CREATE FUNCTION load_question(
    p_tenant bigint, p_agent_id bigint, p_agent_name text, p_portfolio_id bigint,
    p_conversation_id uuid,
    OUT tenant_epoch bigint,
    OUT agent_id bigint, OUT agent_name text, OUT system_prompt text, OUT provider text,
    OUT model text, OUT agent_portfolio_id bigint, OUT top_k integer, OUT max_tokens integer,
    OUT temperature double precision, OUT agent_version bigint, OUT agent_epoch bigint,
    OUT portfolio_id bigint, OUT portfolio_name text, OUT portfolio_version bigint,
    OUT portfolio_epoch bigint,
    OUT conversation_found boolean, OUT questions text[], OUT answers text[]
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('app.tenant_id', p_tenant::text, true);
    SELECT t.cache_epoch,
           a.id, a.name, a.system_prompt, a.provider, a.model, a.portfolio_id, a.top_k,
           a.max_tokens, a.temperature, a.version, a.cache_epoch,
           p.id, p.name, p.version, p.cache_epoch
      INTO tenant_epoch,
           agent_id, agent_name, system_prompt, provider, model, agent_portfolio_id, top_k,
           max_tokens, temperature, agent_version, agent_epoch,
           portfolio_id, portfolio_name, portfolio_version, portfolio_epoch
      FROM agents a
      JOIN tenants t ON t.id = a.tenant_id
      LEFT JOIN portfolios p ON p.id = coalesce(p_portfolio_id, a.portfolio_id)
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

-- False, and nothing stored, when the agent or the continued conversation is gone. A turn that
-- is already stored stays as it is, so a caller that lost the answer may call again.
CREATE FUNCTION store_turn(p_tenant bigint, p_turn jsonb) RETURNS boolean
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_run uuid := p_turn->>'run_id';
    v_conversation uuid := p_turn->>'conversation_id';
    v_agent bigint := p_turn->>'agent_id';
    v_answer uuid := p_turn->>'message_id';
    v_created boolean := false;
BEGIN
    PERFORM set_config('app.tenant_id', p_tenant::text, true);
    -- Foreign keys look past row level security; this does not.
    PERFORM FROM agents WHERE id = v_agent FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF (p_turn->>'new_conversation')::boolean THEN
        INSERT INTO conversations (id, tenant_id, agent_id, title)
        VALUES (v_conversation, p_tenant, v_agent, p_turn->>'title')
        ON CONFLICT (id) DO NOTHING;
        v_created := FOUND;
    END IF;
    IF NOT v_created THEN
        UPDATE conversations SET updated_at = now()
         WHERE id = v_conversation AND agent_id = v_agent;
        IF NOT FOUND THEN
            RETURN false;
        END IF;
    END IF;
    INSERT INTO runs (id, tenant_id, agent_id, conversation_id, question_id, message_id, status,
                      cached, language, complexity, finish_reason, error_code, usage, timings_ms,
                      degraded, started_at, finished_at)
    SELECT v_run, p_tenant, v_agent, v_conversation, (p_turn->>'question_id')::uuid, v_answer,
           p_turn->>'status', (p_turn->>'cached')::boolean, p_turn->>'language',
           p_turn->>'complexity', p_turn->>'finish_reason', p_turn->>'error_code',
           p_turn->'usage', p_turn->'timings_ms',
           ARRAY(SELECT jsonb_array_elements_text(p_turn->'degraded')),
           coalesce(uuid_extract_timestamp(v_run), now()), now()
    ON CONFLICT (id) DO NOTHING;
    IF NOT FOUND THEN
        RETURN true;
    END IF;
    INSERT INTO messages (id, tenant_id, conversation_id, run_id, role, content, status)
    VALUES ((p_turn->>'question_id')::uuid, p_tenant, v_conversation, v_run, 'user',
            p_turn->>'question', 'complete'),
           (v_answer, p_tenant, v_conversation, v_run, 'assistant',
            p_turn->>'answer', p_turn->>'status');
    INSERT INTO citations (tenant_id, message_id, number, document_id, chunk_id, title, uri, quote,
                           start_char, end_char, score)
    SELECT p_tenant, v_answer, c.number, c.document_id, c.chunk_id, c.title, c.uri, c.quote,
           c.start, c."end", c.score
      FROM jsonb_to_recordset(p_turn->'citations') AS c(
           number integer, document_id bigint, chunk_id bigint, title text, uri text, quote text,
           start integer, "end" integer, score double precision);
    RETURN true;
END $$;
"""

# Distances are computed on halfvec both ways; a score is the cosine. The exact scan orders by the
# uncast column, which no index has, so Postgres cannot take the approximate way by itself.
#
# A partition's graph holds other portfolios' vectors too. To meet `p_limit` of ours it visits
# p_limit * partition / matching of all; ef_search is twice that, so that one round is enough and
# nothing depends on the order of later rounds. Where that takes more than 1000 (pgvector's limit)
# or the scan is cheaper, the scan is also the better: for 1,100 of 20,600 vectors and k = 60 HNSW
# took 3.8 ms for recall 0.92 (strict_order 0.80), the scan 1 ms for 1.
VECTOR_SEARCH = """
CREATE FUNCTION matching_documents(p_portfolio bigint, p_filters jsonb) RETURNS bigint[]
LANGUAGE sql STABLE RETURN ARRAY(
    SELECT d.id FROM documents d WHERE d.portfolio_id = p_portfolio AND d.metadata @> p_filters);

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
    v_partition double precision;
    v_ef double precision;
    v_filter text := '';
    v_chunks bigint[];
    v_ids bigint[];
    v_distances double precision[];
BEGIN
    PERFORM set_config('app.tenant_id', p_tenant::text, true);
    SELECT p.chunk_count INTO v_matching FROM portfolios p WHERE p.id = p_portfolio;
    IF NOT FOUND THEN
        RAISE no_data_found USING MESSAGE = 'portfolio';
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
    RETURN QUERY
        SELECT c.id, d.id, d.title, d.uri, c.text, c.start_char, c.end_char, c.language,
               1 - n.distance
          FROM unnest(v_ids, v_distances) AS n(id, distance)
          JOIN rag_chunk c ON c.id = n.id
          JOIN documents d ON d.id = c.document_id
         ORDER BY n.distance, c.id;
END $$;
"""

# A word is looked up as the chunk's language stems it, unless the question's language calls it a
# stop word. Lexemes are quoted by hand: quote_literal would write E'' for a backslash.
KEYWORD_SEARCH = """
CREATE FUNCTION text_configuration(p_language text) RETURNS regconfig
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    CASE p_language WHEN 'en' THEN 'pg_catalog.english'::regconfig
                    WHEN 'es' THEN 'pg_catalog.spanish'::regconfig
                    ELSE 'pg_catalog.simple'::regconfig END;

CREATE FUNCTION chunk_tsv(p_language text, p_title text, p_text text) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    setweight(to_tsvector(text_configuration(p_language), p_title), 'A')
    || to_tsvector(text_configuration(p_language), p_text);

CREATE FUNCTION any_word(p_configuration regconfig, p_words text) RETURNS tsquery
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN (
    SELECT string_agg(
        '''' || replace(replace(w.lexeme, '\\', '\\\\'), '''', '''''') || '''', ' | ')::tsquery
      FROM unnest(to_tsvector(p_configuration, p_words)) w);

CREATE FUNCTION search_keywords(
    p_tenant bigint, p_portfolio bigint, p_query text, p_language text, p_limit integer,
    p_filters jsonb
) RETURNS TABLE (
    chunk_id bigint, document_id bigint, title text, uri text, text text, start_char integer,
    end_char integer, language text, score double precision
) LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
DECLARE
    v_words text;
    v_english tsquery;
    v_spanish tsquery;
    v_simple tsquery;
    v_documents bigint[];
BEGIN
    PERFORM set_config('app.tenant_id', p_tenant::text, true);
    PERFORM FROM portfolios p WHERE p.id = p_portfolio;
    IF NOT FOUND THEN
        RAISE no_data_found USING MESSAGE = 'portfolio';
    END IF;
    SELECT string_agg(DISTINCT w.token, ' ') INTO v_words FROM ts_parse('default', p_query) w
     WHERE to_tsvector(text_configuration(p_language), w.token) <> ''::tsvector;
    IF v_words IS NULL THEN
        RETURN;
    END IF;
    v_english := any_word('english', v_words);
    v_spanish := any_word('spanish', v_words);
    v_simple := any_word('simple', v_words);
    IF p_filters <> '{}' THEN
        v_documents := matching_documents(p_portfolio, p_filters);
    END IF;
    RETURN QUERY
        SELECT b.id, d.id, d.title, d.uri, b.text, b.start_char, b.end_char, b.language, b.rank
          FROM (
            SELECT c.id, c.document_id, c.text, c.start_char, c.end_char, c.language,
                   ts_rank_cd(c.tsv, CASE c.language WHEN 'en' THEN v_english
                                                     WHEN 'es' THEN v_spanish
                                                     ELSE v_simple END)::double precision AS rank
              FROM rag_chunk c
             WHERE c.portfolio_id = p_portfolio
               AND (p_filters = '{}' OR c.document_id = ANY (v_documents))
               AND (c.language = 'en' AND c.tsv @@ v_english
                    OR c.language = 'es' AND c.tsv @@ v_spanish
                    OR c.language NOT IN ('en', 'es') AND c.tsv @@ v_simple)
             ORDER BY rank DESC, c.id
             LIMIT p_limit) b
          JOIN documents d ON d.id = b.document_id
         ORDER BY b.rank DESC, b.id;
END $$;
"""

# Run as the owner, past the tenants' policies: each does one thing and returns the least.
ACROSS_TENANTS = """
CREATE FUNCTION find_tenant(p_name text) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT id FROM tenants WHERE name = p_name
$$;

CREATE FUNCTION ensure_tenant(p_name text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    INSERT INTO tenants (name) VALUES (p_name) ON CONFLICT (name) DO NOTHING;
    RETURN (SELECT id FROM tenants WHERE name = p_name);
END $$;

CREATE FUNCTION resolve_api_key(
    p_hash bytea, OUT key_id bigint, OUT tenant_id bigint, OUT role text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT k.id, k.tenant_id, k.role FROM api_keys k
     WHERE k.key_hash = p_hash AND k.revoked_at IS NULL
       AND (k.expires_at IS NULL OR k.expires_at > now())
$$;

CREATE FUNCTION claim_uploads(p_limit integer, p_ids bigint[]) RETURNS SETOF document_uploads
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    UPDATE document_uploads SET claimed_at = now(), attempts = attempts + 1
     WHERE id IN (
        SELECT id FROM document_uploads
         WHERE (claimed_at IS NULL OR claimed_at < now() - interval '5 minutes')
           AND (p_ids IS NULL OR id = ANY (p_ids))
         ORDER BY id LIMIT p_limit FOR UPDATE SKIP LOCKED)
    RETURNING *
$$;
"""

# For the owner alone. HNSW indexes are partial, one for each encoder and partition: vectors of
# two encoders never share a graph.
ENCODERS = """
CREATE FUNCTION ensure_encoder(p_name text, p_dimension integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    v_encoder encoders;
    v_index text;
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
        v_index := format('rag_embedding_p%s_hnsw_e%s', lpad(part::text, 2, '0'), v_encoder.id);
        -- Asked first, because even CREATE INDEX IF NOT EXISTS waits for every writer.
        IF to_regclass(v_index) IS NULL THEN
            EXECUTE format(
                'CREATE INDEX %I ON rag_embedding_p%s USING hnsw '
                '((embedding::halfvec(%s)) halfvec_cosine_ops) '
                'WITH (m = 16, ef_construction = 64) WHERE encoder_id = %s',
                v_index, lpad(part::text, 2, '0'), p_dimension, v_encoder.id);
        END IF;
    END LOOP;
    RETURN v_encoder.id;
END $$;
"""

SIGNATURES = (
    "load_question(bigint, bigint, text, bigint, uuid)",
    "store_turn(bigint, jsonb)",
    "matching_documents(bigint, jsonb)",
    "search_vectors(bigint, bigint, integer, integer, halfvec, integer, jsonb, bigint, integer)",
    "text_configuration(text)",
    "chunk_tsv(text, text, text)",
    "any_word(regconfig, text)",
    "search_keywords(bigint, bigint, text, text, integer, jsonb)",
    "find_tenant(text)",
    "ensure_tenant(text)",
    "resolve_api_key(bytea)",
    "claim_uploads(integer, bigint[])",
)
OWNERS = "ensure_encoder(text, integer)"


def upgrade() -> None:
    for script in (QUESTION_PATH, VECTOR_SEARCH, KEYWORD_SEARCH, ACROSS_TENANTS, ENCODERS):
        run_script(script)
    for signature in (*SIGNATURES, OWNERS):
        run_script(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
    for signature in SIGNATURES:
        run_script(f"GRANT EXECUTE ON FUNCTION {signature} TO citestream_app")


def downgrade() -> None:
    for signature in reversed((*SIGNATURES, OWNERS)):
        run_script(f"DROP FUNCTION {signature}")
