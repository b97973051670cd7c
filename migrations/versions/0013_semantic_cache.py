"""How near two questions of an agent's must be to share an answer."""

from importlib import import_module

from migrations.script import drop_functions, for_the_service, run_script

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

COLUMN = """
ALTER TABLE agents
    ADD COLUMN semantic_threshold double precision
        CHECK (semantic_threshold BETWEEN 0.5 AND 1)
"""
LOAD = "load_question(bigint, bigint, text, bigint, uuid)"
# What 0012's function says once of its result, and once each in what it reads and fills.
ADDED = (
    ("OUT fallback_model text,", "OUT fallback_model text, OUT semantic_threshold float8,"),
    ("a.fallback_model,", "a.fallback_model, a.semantic_threshold,"),
    ("           fallback_model,", "           fallback_model, semantic_threshold,"),
)


def upgrade() -> None:
    run_script(COLUMN)
    drop_functions(LOAD)
    run_script(_load_question())
    for_the_service(LOAD)


def downgrade() -> None:
    drop_functions(LOAD)
    run_script(_former_load_question())
    for_the_service(LOAD)
    run_script("ALTER TABLE agents DROP COLUMN semantic_threshold")


def _load_question() -> str:
    """As in 0012, and with the threshold."""
    function = _former_load_question()
    for former, now in ADDED:
        if function.count(former) != 1:
            raise RuntimeError(f"0012's function does not say {former!r} once")
        function = function.replace(former, now)
    return function


def _former_load_question() -> str:
    return str(import_module("migrations.versions.0012_fallback").LOAD_QUESTION)
