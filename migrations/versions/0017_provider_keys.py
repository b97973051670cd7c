"""Provider keys of agents, encrypted, and the addresses that they are for.

Every encrypted column is of the domain `sealed`, by which `citestream keys rotate` finds them all:
a list in the code would forget the next one.
"""

from importlib import import_module

from migrations.script import drop_functions, for_the_service, run_script

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

# A sealed value has 97 bytes beside what is in it (app/vault/sealing.py), so that no key is ever
# stored as it is by mistake.
COLUMNS = """
CREATE DOMAIN sealed AS bytea CONSTRAINT sealed_check CHECK (octet_length(VALUE) > 97);
ALTER TABLE agents
    ADD COLUMN base_url text,
    ADD COLUMN api_key_sealed sealed,
    ADD COLUMN api_key_last4 text,
    ADD CONSTRAINT agents_own_check CHECK (
        (base_url IS NULL AND api_key_sealed IS NULL) OR provider IN ('openai', 'mistral')),
    ADD CONSTRAINT agents_api_key_check CHECK (
        (api_key_sealed IS NULL) = (api_key_last4 IS NULL))
"""
FORMER_COLUMNS = """
ALTER TABLE agents DROP COLUMN base_url, DROP COLUMN api_key_sealed, DROP COLUMN api_key_last4;
DROP DOMAIN sealed
"""
LOAD = "load_question(bigint, bigint, text, bigint, uuid)"
# What 0013's function says once of its result, and once each in what it reads and fills.
ADDED = (
    (
        "OUT semantic_threshold float8,",
        "OUT semantic_threshold float8, OUT base_url text, OUT api_key_sealed bytea,",
    ),
    ("a.semantic_threshold,", "a.semantic_threshold, a.base_url, a.api_key_sealed,"),
    (
        "           fallback_model, semantic_threshold,",
        "           fallback_model, semantic_threshold, base_url, api_key_sealed,",
    ),
)


def upgrade() -> None:
    run_script(COLUMNS)
    drop_functions(LOAD)
    run_script(_load_question())
    for_the_service(LOAD)


def downgrade() -> None:
    drop_functions(LOAD)
    run_script(_former_load_question())
    for_the_service(LOAD)
    run_script(FORMER_COLUMNS)


def _load_question() -> str:
    """As in 0013, and with the agent's own address and key."""
    function = _former_load_question()
    for former, now in ADDED:
        if function.count(former) != 1:
            raise RuntimeError(f"0013's function does not say {former!r} once")
        function = function.replace(former, now)
    return function


def _former_load_question() -> str:
    return str(import_module("migrations.versions.0013_semantic_cache")._load_question())
