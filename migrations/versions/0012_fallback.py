"""The provider that answers where an agent's own does not begin."""

from importlib import import_module

from migrations.script import drop_functions, for_the_service, run_script

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE agents
    ADD COLUMN fallback_provider text
        CHECK (fallback_provider IN ('openai', 'mistral', 'extractive')),
    ADD COLUMN fallback_model text;
"""

# As in 0010, and with the fallback.
LOAD_QUESTION = """
CREATE FUNCTION load_question(
    p_tenant bigint, p_agent_id bigint, p_agent_name text, p_portfolio_id bigint,
    p_conversation_id uuid,
    OUT tenant_epoch bigint,
    OUT agent_id bigint, OUT agent_name text, OUT system_prompt text, OUT provider text,
    OUT model text, OUT fallback_provider text, OUT fallback_model text,
    OUT agent_portfolio_id bigint, OUT top_k integer, OUT max_tokens integer,
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
           a.id, a.name, a.system_prompt, a.provider, a.model, a.fallback_provider,
           a.fallback_model, a.portfolio_id, a.top_k, a.max_tokens, a.temperature,
           a.version, a.cache_epoch,
           p.id, p.name, p.version, p.cache_epoch, e.name,
           v.id, v.name, v.version, v.cache_epoch, f.name
      INTO tenant_epoch,
           agent_id, agent_name, system_prompt, provider, model, fallback_provider,
           fallback_model, agent_portfolio_id, top_k, max_tokens, temperature,
           agent_version, agent_epoch,
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

LOAD = "load_question(bigint, bigint, text, bigint, uuid)"


def upgrade() -> None:
    run_script(COLUMNS)
    drop_functions(LOAD)
    run_script(LOAD_QUESTION)
    for_the_service(LOAD)


def downgrade() -> None:
    drop_functions(LOAD)
    run_script(import_module("migrations.versions.0010_persona_and_domain").LOAD_QUESTION)
    for_the_service(LOAD)
    run_script("ALTER TABLE agents DROP COLUMN fallback_provider, DROP COLUMN fallback_model")
