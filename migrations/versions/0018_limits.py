"""What was used of models by day, and what is reserved to be."""

from migrations.script import drop_functions, for_the_service, run_script

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

# Beside the rows of callers and models each day has one of the whole tenant, with neither: what a
# reservation is held against must not have to be added up.
TABLES = """
CREATE TABLE usage_daily (
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    day date NOT NULL,
    subject text NOT NULL,
    model text NOT NULL,
    answers bigint NOT NULL DEFAULT 0,
    prompt_tokens bigint NOT NULL DEFAULT 0,
    completion_tokens bigint NOT NULL DEFAULT 0,
    cost numeric NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, day, subject, model)
);

-- A settled one is kept for a while, so that telling it again changes nothing.
CREATE TABLE usage_reservations (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    subject text NOT NULL,
    day date NOT NULL,
    cost numeric NOT NULL,
    expires_at timestamptz NOT NULL,
    settled boolean NOT NULL DEFAULT false
);
CREATE INDEX ix_usage_reservations_expires_at ON usage_reservations (tenant_id, expires_at);
CREATE INDEX ix_usage_reservations_open ON usage_reservations (tenant_id, day) WHERE NOT settled;

GRANT SELECT, INSERT, UPDATE ON usage_daily TO citestream_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON usage_reservations TO citestream_app;
"""
ISOLATION = """
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON {table}
    USING (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::bigint);
"""

# One at a time for a tenant, settling too, so that nobody reads between the two halves of another
# one's. Whoever waits, waits for no disk: what the last moment before a crash of the server had
# reserved is forgotten with the questions it was for.
RESERVE = """
CREATE FUNCTION reserve_cost(
    p_tenant bigint, p_subject text, p_id uuid, p_cost float8, p_own float8, p_whole float8,
    p_lasts interval
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_today date := (now() AT TIME ZONE 'UTC')::date;
    v_cost numeric := p_cost::numeric;
    v_own numeric;
    v_whole numeric;
BEGIN
    PERFORM set_config('app.tenant_id', p_tenant::text, true),
            set_config('synchronous_commit', 'off', true);
    PERFORM pg_advisory_xact_lock(hashtextextended('usage', p_tenant));
    SELECT coalesce(sum(cost), 0), coalesce(sum(cost) FILTER (WHERE subject = p_subject), 0)
      INTO v_whole, v_own
      FROM usage_reservations
     WHERE tenant_id = p_tenant AND day = v_today AND NOT settled AND expires_at > now();
    IF v_whole + v_cost + (SELECT coalesce(sum(cost), 0) FROM usage_daily
        WHERE tenant_id = p_tenant AND day = v_today AND subject = '') > p_whole::numeric
    OR v_own + v_cost + (SELECT coalesce(sum(cost), 0) FROM usage_daily
        WHERE tenant_id = p_tenant AND day = v_today AND subject = p_subject) > p_own::numeric
    THEN
        RETURN false;
    END IF;
    INSERT INTO usage_reservations (id, tenant_id, subject, day, cost, expires_at)
    VALUES (p_id, p_tenant, p_subject, v_today, v_cost, now() + p_lasts);
    RETURN true;
END $$;
"""

# What was reserved is settled on its day. One that has expired meanwhile was paid for nevertheless.
SETTLE = """
CREATE FUNCTION settle_usage(p_tenant bigint, p_spent jsonb, p_kept interval) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('app.tenant_id', p_tenant::text, true),
            set_config('synchronous_commit', 'off', true);
    PERFORM pg_advisory_xact_lock(hashtextextended('usage', p_tenant));
    DELETE FROM usage_reservations WHERE tenant_id = p_tenant AND expires_at < now() - p_kept;
    WITH spent AS (
        SELECT * FROM jsonb_to_recordset(p_spent) AS s(
            id uuid, subject text, model text, prompt_tokens bigint, completion_tokens bigint,
            cost float8)
    ), settled AS (
        INSERT INTO usage_reservations AS r (id, tenant_id, subject, day, cost, expires_at, settled)
        SELECT s.id, p_tenant, s.subject, (now() AT TIME ZONE 'UTC')::date, 0, now(), true
          FROM spent s
        ON CONFLICT (id) DO UPDATE SET settled = true WHERE NOT r.settled
        RETURNING r.id, r.day
    ), counted AS (
        SELECT d.day, s.subject, s.model, s.prompt_tokens, s.completion_tokens, s.cost::numeric
          FROM settled d JOIN spent s ON s.id = d.id
         WHERE s.prompt_tokens + s.completion_tokens > 0 OR s.cost > 0
    )
    INSERT INTO usage_daily AS u
           (tenant_id, day, subject, model, answers, prompt_tokens, completion_tokens, cost)
    SELECT p_tenant, day, coalesce(subject, ''), coalesce(model, ''), count(*), sum(prompt_tokens),
           sum(completion_tokens), sum(cost)
      FROM counted
     GROUP BY GROUPING SETS ((day, subject, model), (day))
    ON CONFLICT (tenant_id, day, subject, model) DO UPDATE
       SET answers = u.answers + excluded.answers,
           prompt_tokens = u.prompt_tokens + excluded.prompt_tokens,
           completion_tokens = u.completion_tokens + excluded.completion_tokens,
           cost = u.cost + excluded.cost;
END $$;
"""

RESERVE_COST = "reserve_cost(bigint, text, uuid, float8, float8, float8, interval)"
SETTLE_USAGE = "settle_usage(bigint, jsonb, interval)"


def upgrade() -> None:
    run_script(TABLES)
    for table in ("usage_daily", "usage_reservations"):
        run_script(ISOLATION.format(table=table))
    run_script(RESERVE)
    run_script(SETTLE)
    for_the_service(RESERVE_COST, SETTLE_USAGE)


def downgrade() -> None:
    drop_functions(RESERVE_COST, SETTLE_USAGE)
    run_script("DROP TABLE usage_reservations; DROP TABLE usage_daily")
