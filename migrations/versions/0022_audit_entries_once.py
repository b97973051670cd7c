"""An audit entry that is sent again, because nobody knows whether it arrived, is kept once."""

from migrations.script import run_script

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

# Entries of before have none.
ONCE = """
ALTER TABLE audit_log ADD COLUMN entry_id uuid;
CREATE UNIQUE INDEX uq_audit_log_entry_id ON audit_log (entry_id);
"""


def upgrade() -> None:
    run_script(ONCE)


def downgrade() -> None:
    run_script("ALTER TABLE audit_log DROP COLUMN entry_id")
