"""Runs from their beginning, and requests that can be sent again."""

from importlib import import_module

from migrations.script import drop_functions, for_the_service, run_script

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TABLES = """
ALTER TABLE runs
    DROP CONSTRAINT runs_status_check,
    ADD CONSTRAINT runs_status_check
        CHECK (status IN ('streaming', 'complete', 'interrupted', 'error')),
    ALTER COLUMN finished_at DROP NOT NULL,
    ADD COLUMN alive_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN sources jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN top_k integer NOT NULL DEFAULT 0,
    ADD COLUMN max_tokens integer NOT NULL DEFAULT 0;
CREATE INDEX ix_runs_streaming ON runs (alive_at) WHERE status = 'streaming';

CREATE TABLE idempotency_keys (
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    subject text NOT NULL,
    key text NOT NULL,
    digest bytea NOT NULL,
    run_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, subject, key)
);
CREATE INDEX ix_idempotency_keys_created_at ON idempotency_keys (created_at);
ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotency_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON idempotency_keys
    USING (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE ON idempotency_keys TO citestream_app;
GRANT UPDATE ON runs, messages TO citestream_app;
GRANT DELETE ON citations TO citestream_app;
"""

# The owner sees across tenants, for `interrupt_dead_runs` and `keep_runs_alive`.
ACROSS = """
CREATE POLICY owner_across_tenants ON runs TO CURRENT_USER USING (true) WITH CHECK (true);
CREATE POLICY owner_across_tenants ON idempotency_keys TO CURRENT_USER
    USING (true) WITH CHECK (true);
"""

# A second request with a key waits for the first one's transaction at the key's row.
BEGIN_TURN = """
CREATE FUNCTION begin_turn(
    p_tenant bigint, p_turn jsonb, p_subject text, p_key text, p_digest bytea,
    p_dead_after interval,
    OUT outcome text, OUT run_id uuid, OUT conversation_id uuid, OUT question_id uuid,
    OUT message_id uuid
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_key idempotency_keys;
    v_run runs;
BEGIN
    PERFORM set_config('app.tenant_id', p_tenant::text, true);
    PERFORM FROM agents WHERE id = (p_turn->>'agent_id')::bigint FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE no_data_found USING MESSAGE = 'agent';
    END IF;
    outcome := 'fresh';
    run_id := p_turn->>'run_id';
    conversation_id := p_turn->>'conversation_id';
    question_id := p_turn->>'question_id';
    message_id := p_turn->>'message_id';
    IF p_key IS NOT NULL THEN
        INSERT INTO idempotency_keys AS k (tenant_id, subject, key, digest, run_id)
        VALUES (p_tenant, p_subject, p_key, p_digest, begin_turn.run_id)
        ON CONFLICT (tenant_id, subject, key) DO UPDATE
           SET digest = excluded.digest, run_id = excluded.run_id, created_at = now()
         WHERE k.created_at < now() - interval '1 day';
        IF NOT FOUND THEN
            SELECT * INTO v_key FROM idempotency_keys k
             WHERE k.tenant_id = p_tenant AND k.subject = p_subject AND k.key = p_key FOR UPDATE;
            IF v_key.digest <> p_digest THEN
                outcome := 'mismatch';
                RETURN;
            END IF;
            SELECT * INTO v_run FROM runs r WHERE r.id = v_key.run_id FOR UPDATE;
            IF FOUND THEN
                run_id := v_run.id;
                conversation_id := v_run.conversation_id;
                question_id := v_run.question_id;
                message_id := v_run.message_id;
                IF v_run.status = 'complete' OR (v_run.status = 'streaming'
                        AND v_run.alive_at > now() - p_dead_after) THEN
                    outcome := 'attach';
                    RETURN;
                END IF;
                UPDATE runs r SET status = 'streaming', alive_at = now(), finished_at = NULL,
                       error_code = NULL WHERE r.id = v_run.id;
                RETURN;
            END IF;
            -- Its conversation was deleted meanwhile.
            UPDATE idempotency_keys k SET run_id = begin_turn.run_id
             WHERE k.tenant_id = p_tenant AND k.subject = p_subject AND k.key = p_key;
        END IF;
    END IF;
    IF (p_turn->>'new_conversation')::boolean THEN
        INSERT INTO conversations (id, tenant_id, agent_id, title)
        VALUES (conversation_id, p_tenant, (p_turn->>'agent_id')::bigint, p_turn->>'title');
    ELSE
        UPDATE conversations c SET updated_at = now()
         WHERE c.id = begin_turn.conversation_id
           AND c.agent_id = (p_turn->>'agent_id')::bigint;
        IF NOT FOUND THEN
            RAISE no_data_found USING MESSAGE = 'conversation';
        END IF;
    END IF;
    INSERT INTO runs (id, tenant_id, agent_id, conversation_id, question_id, message_id, status,
                      cached, language, complexity, usage, timings_ms, degraded, top_k, max_tokens,
                      started_at)
    SELECT run_id, p_tenant, (p_turn->>'agent_id')::bigint, conversation_id, question_id,
           message_id, 'streaming', false, p_turn->>'language', p_turn->>'complexity', '{}', '{}',
           '{}', (p_turn->>'top_k')::integer, (p_turn->>'max_tokens')::integer,
           coalesce(uuid_extract_timestamp(run_id), now());
    INSERT INTO messages (id, tenant_id, conversation_id, run_id, role, content, status)
    VALUES (question_id, p_tenant, conversation_id, run_id, 'user', p_turn->>'question',
            'complete');
END $$;
"""

# As in 0003, or the end of what `begin_turn` began. A complete turn stays as it is, so a caller
# that lost the answer may call again; one that is not is replaced, when its request was sent again.
STORE_TURN = """
CREATE FUNCTION store_turn(p_tenant bigint, p_turn jsonb) RETURNS boolean
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_run uuid := p_turn->>'run_id';
    v_conversation uuid := p_turn->>'conversation_id';
    v_agent bigint := p_turn->>'agent_id';
    v_answer uuid := p_turn->>'message_id';
    v_status text;
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
    SELECT r.status INTO v_status FROM runs r WHERE r.id = v_run FOR NO KEY UPDATE;
    IF v_status = 'complete' THEN
        RETURN true;
    END IF;
    IF v_status IS NULL THEN
        INSERT INTO runs (id, tenant_id, agent_id, conversation_id, question_id, message_id, status,
                          cached, language, complexity, usage, timings_ms, degraded, started_at)
        SELECT v_run, p_tenant, v_agent, v_conversation, (p_turn->>'question_id')::uuid, v_answer,
               'streaming', (p_turn->>'cached')::boolean, p_turn->>'language',
               p_turn->>'complexity', '{}', '{}', '{}',
               coalesce(uuid_extract_timestamp(v_run), now())
        ON CONFLICT (id) DO NOTHING;
        IF NOT FOUND THEN
            RETURN true;
        END IF;
        INSERT INTO messages (id, tenant_id, conversation_id, run_id, role, content, status)
        VALUES ((p_turn->>'question_id')::uuid, p_tenant, v_conversation, v_run, 'user',
                p_turn->>'question', 'complete');
    END IF;
    UPDATE runs SET status = p_turn->>'status', cached = (p_turn->>'cached')::boolean,
           finish_reason = p_turn->>'finish_reason', error_code = p_turn->>'error_code',
           usage = p_turn->'usage', timings_ms = p_turn->'timings_ms',
           degraded = ARRAY(SELECT jsonb_array_elements_text(p_turn->'degraded')),
           sources = p_turn->'sources', top_k = (p_turn->>'top_k')::integer,
           max_tokens = (p_turn->>'max_tokens')::integer, finished_at = now()
     WHERE id = v_run;
    INSERT INTO messages AS m (id, tenant_id, conversation_id, run_id, role, content, status)
    VALUES (v_answer, p_tenant, v_conversation, v_run, 'assistant', p_turn->>'answer',
            p_turn->>'status')
    ON CONFLICT (id) DO UPDATE SET content = excluded.content, status = excluded.status
     WHERE m.run_id = v_run;
    IF NOT FOUND THEN
        RAISE unique_violation USING MESSAGE = 'message';
    END IF;
    DELETE FROM citations WHERE message_id = v_answer;
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

# Run as the owner, past the tenants' policies: each does one thing and returns the least.
LIVES = """
CREATE FUNCTION keep_runs_alive(p_runs uuid[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    UPDATE runs SET alive_at = now() WHERE id = ANY (p_runs) AND status = 'streaming'
$$;

CREATE FUNCTION interrupt_dead_runs(p_dead_after interval) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_count integer;
BEGIN
    DELETE FROM idempotency_keys WHERE created_at < now() - interval '1 day';
    UPDATE runs SET status = 'interrupted', error_code = 'interrupted', finished_at = now()
     WHERE status = 'streaming' AND alive_at < now() - p_dead_after;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;
"""

BEGIN = "begin_turn(bigint, jsonb, text, text, bytea, interval)"
STORE = "store_turn(bigint, jsonb)"
ALIVE = "keep_runs_alive(uuid[])"
DEAD = "interrupt_dead_runs(interval)"


def upgrade() -> None:
    run_script(TABLES)
    run_script(ACROSS)
    drop_functions(STORE)
    for script in (BEGIN_TURN, STORE_TURN, LIVES):
        run_script(script)
    for_the_service(BEGIN, STORE, ALIVE, DEAD)


def downgrade() -> None:
    drop_functions(BEGIN, STORE, ALIVE, DEAD)
    run_script(_former_store_turn())
    for_the_service(STORE)
    run_script(
        """
        DROP TABLE idempotency_keys;
        DROP POLICY owner_across_tenants ON runs;
        DROP INDEX ix_runs_streaming;
        REVOKE UPDATE ON runs, messages FROM citestream_app;
        REVOKE DELETE ON citations FROM citestream_app;
        """
    )
    # What was never finished has no place in the former table.
    run_script(
        """
        DO $$
        DECLARE
            v_tenant bigint;
        BEGIN
            FOR v_tenant IN SELECT id FROM tenants LOOP
                PERFORM set_config('app.tenant_id', v_tenant::text, true);
                UPDATE runs SET status = 'interrupted', finished_at = now()
                 WHERE status = 'streaming' OR finished_at IS NULL;
            END LOOP;
            PERFORM set_config('app.tenant_id', '', true);
        END $$;
        ALTER TABLE runs
            DROP CONSTRAINT runs_status_check,
            ADD CONSTRAINT runs_status_check CHECK (status IN ('complete', 'interrupted', 'error')),
            ALTER COLUMN finished_at SET NOT NULL,
            DROP COLUMN alive_at, DROP COLUMN sources, DROP COLUMN top_k, DROP COLUMN max_tokens
        """
    )


def _former_store_turn() -> str:
    path = import_module("migrations.versions.0003_functions").QUESTION_PATH
    return str(path[path.index("CREATE FUNCTION store_turn") :])
