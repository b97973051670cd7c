"""Telling that runs are alive waits for none of them."""

from importlib import import_module

from migrations.script import run_script

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

# As in 0011, of the runs that nobody else has just now. Turns are stored several at a time, in the
# order of their conversations: who locks the same runs in another order waits for them, and they
# for him. A run that is just being stored needs no beat.
KEEP = """
CREATE OR REPLACE FUNCTION keep_runs_alive(p_runs uuid[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    WITH alive AS MATERIALIZED (
        SELECT id FROM runs WHERE id = ANY (p_runs) AND status = 'streaming'
           FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE runs r SET alive_at = now() FROM alive WHERE r.id = alive.id
$$;
"""


def upgrade() -> None:
    run_script(KEEP)


def downgrade() -> None:
    lives = str(import_module("migrations.versions.0011_runs").LIVES)
    former = lives[: lives.index("CREATE FUNCTION interrupt_dead_runs")]
    run_script(former.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1))
