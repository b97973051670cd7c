"""Runs of dead processes are marked by several at once, and none waits for another."""

from importlib import import_module

from migrations.script import run_script

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

# As in 0011, of the rows that nobody else has just now: every process looks every few seconds, and
# two that locked the same rows in different orders, or a request's that is sent again, would wait
# for each other. What is passed over is looked at the next time.
DEAD_RUNS = """
CREATE OR REPLACE FUNCTION interrupt_dead_runs(p_dead_after interval) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_count integer;
BEGIN
    WITH old AS MATERIALIZED (
        SELECT tenant_id, subject, key FROM idempotency_keys
         WHERE created_at < now() - interval '1 day'
           FOR UPDATE SKIP LOCKED
    )
    DELETE FROM idempotency_keys k USING old
     WHERE (k.tenant_id, k.subject, k.key) = (old.tenant_id, old.subject, old.key);
    WITH dead AS MATERIALIZED (
        SELECT id FROM runs WHERE status = 'streaming' AND alive_at < now() - p_dead_after
           FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE runs r SET status = 'interrupted', error_code = 'interrupted', finished_at = now()
      FROM dead WHERE r.id = dead.id;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;
"""


def upgrade() -> None:
    run_script(DEAD_RUNS)


def downgrade() -> None:
    lives = import_module("migrations.versions.0011_runs").LIVES
    former = str(lives[lives.index("CREATE FUNCTION interrupt_dead_runs") :])
    run_script(former.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1))
