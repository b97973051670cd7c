"""An agent's voice, and questions that were answered beforehand."""

from importlib import import_module

from migrations.script import drop_functions, for_the_service, run_script

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE agents ADD COLUMN persona_portfolio_id bigint
    CONSTRAINT agents_persona_portfolio_id_fkey REFERENCES portfolios ON DELETE SET NULL;
CREATE INDEX ix_agents_persona_portfolio_id ON agents (persona_portfolio_id);
ALTER TABLE rag_chunk ADD COLUMN question text;
CREATE INDEX ix_rag_chunk_question ON rag_chunk (portfolio_id) WHERE question IS NOT NULL;
"""

# As in 0005, and with the portfolio that the agent speaks from.
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
    OUT persona_id bigint, OUT persona_name text, OUT persona_version bigint,
    OUT persona_epoch bigint, OUT persona_encoder text,
    OUT conversation_found boolean, OUT questions text[], OUT answers text[]
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('app.tenant_id', p_tenant::text, true);
    SELECT t.cache_epoch,
           a.id, a.name, a.system_prompt, a.provider, a.model, a.portfolio_id, a.top_k,
           a.max_tokens, a.temperature, a.version, a.cache_epoch,
           p.id, p.name, p.version, p.cache_epoch, e.name,
           v.id, v.name, v.version, v.cache_epoch, f.name
      INTO tenant_epoch,
           agent_id, agent_name, system_prompt, provider, model, agent_portfolio_id, top_k,
           max_tokens, temperature, agent_version, agent_epoch,
           portfolio_id, portfolio_name, portfolio_version, portfolio_epoch, portfolio_encoder,
           persona_id, persona_name, persona_version, persona_epoch, persona_encoder
      FROM agents a
      JOIN tenants t ON t.id = a.tenant_id
      LEFT JOIN portfolios p ON p.id = coalesce(p_portfolio_id, a.portfolio_id)
      LEFT JOIN encoders e ON e.id = p.encoder_id
      LEFT JOIN portfolios v ON v.id = a.persona_portfolio_id
      LEFT JOIN encoders f ON f.id = v.encoder_id
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

# Every pair's vector is compared: a glossary has hundreds of entries, rarely thousands. Nothing
# where another encoder serves the portfolio; the vector source finds out which one does.
SEARCH_PAIRS = """
CREATE FUNCTION search_pairs(
    p_tenant bigint, p_portfolio bigint, p_encoder integer, p_query halfvec, p_limit integer,
    p_filters jsonb
) RETURNS TABLE (
    chunk_id bigint, document_id bigint, title text, uri text, text text, start_char integer,
    end_char integer, language text, ordinal integer, tail text, score double precision
) LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('app.tenant_id', p_tenant::text, true);
    RETURN QUERY
        WITH near AS MATERIALIZED (
            SELECT c.id, 1 - (e.embedding <=> p_query) AS score
              FROM rag_chunk c
              JOIN portfolios p ON p.id = c.portfolio_id AND p.encoder_id = p_encoder
              JOIN rag_embedding e ON e.portfolio_id = p_portfolio AND e.chunk_id = c.id
               AND e.encoder_id = p_encoder
             WHERE c.portfolio_id = p_portfolio AND c.question IS NOT NULL
               AND (p_filters = '{}'
                    OR c.document_id = ANY (matching_documents(p_portfolio, p_filters)))
             ORDER BY 2 DESC, 1 LIMIT p_limit)
        SELECT h.*
          FROM (SELECT array_agg(n.id ORDER BY n.score DESC, n.id) AS ids,
                       array_agg(n.score ORDER BY n.score DESC, n.id) AS scores FROM near n) found,
               chunk_hits(found.ids, found.scores) h;
END $$;
"""

LOAD = "load_question(bigint, bigint, text, bigint, uuid)"
PAIRS = "search_pairs(bigint, bigint, integer, halfvec, integer, jsonb)"


def upgrade() -> None:
    run_script(COLUMNS)
    drop_functions(LOAD)
    run_script(LOAD_QUESTION)
    run_script(SEARCH_PAIRS)
    for_the_service(LOAD, PAIRS)


def downgrade() -> None:
    drop_functions(PAIRS, LOAD)
    run_script(import_module("migrations.versions.0005_portfolio_encoders").LOAD_QUESTION)
    for_the_service(LOAD)
    run_script("ALTER TABLE rag_chunk DROP COLUMN question")
    run_script("ALTER TABLE agents DROP COLUMN persona_portfolio_id")
