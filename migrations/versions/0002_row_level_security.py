"""Row level security on everything of a tenant, and what the service's role may do."""

from migrations.script import run_script

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

OWNED = (
    "users", "api_keys", "agents", "portfolios", "documents", "document_uploads", "rag_chunk",
    "rag_embedding", *(f"rag_embedding_p{part:02}" for part in range(16)), "conversations",
    "messages", "citations", "runs",
)  # fmt: skip

# Unset, the setting is NULL, and once set in a session it falls back to ''; both compare to no
# row. FORCE binds the owner too, so that a mistake in the deployment cannot lift the policy.
ISOLATION = """
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON {table}
    USING ({column} = NULLIF(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK ({column} = NULLIF(current_setting('app.tenant_id', true), '')::bigint);
"""

# The owner sees across tenants in three tables only, for the SECURITY DEFINER functions of 0003:
# whose key is this (api_keys, read only), which tenant has this name (tenants), and which uploads
# wait (document_uploads).
ACROSS = """
CREATE POLICY owner_across_tenants ON tenants TO CURRENT_USER USING (true) WITH CHECK (true);
CREATE POLICY owner_across_tenants ON api_keys FOR SELECT TO CURRENT_USER USING (true);
CREATE POLICY owner_across_tenants ON document_uploads TO CURRENT_USER
    USING (true) WITH CHECK (true);
"""

GRANTS = """
GRANT SELECT, UPDATE (cache_epoch) ON tenants TO citestream_app;
GRANT SELECT ON users, encoders TO citestream_app;
GRANT SELECT, INSERT ON api_keys, messages, citations, runs TO citestream_app;
GRANT SELECT, INSERT, DELETE ON rag_chunk, rag_embedding TO citestream_app;
GRANT SELECT, INSERT, UPDATE, DELETE
    ON agents, portfolios, documents, document_uploads, conversations TO citestream_app;
"""


def upgrade() -> None:
    run_script(ISOLATION.format(table="tenants", column="id"))
    for table in OWNED:
        run_script(ISOLATION.format(table=table, column="tenant_id"))
    run_script(ACROSS)
    run_script(GRANTS)


def downgrade() -> None:
    for table in ("tenants", "api_keys", "document_uploads"):
        run_script(f"DROP POLICY owner_across_tenants ON {table}")
    for table in ("tenants", *OWNED):
        run_script(
            f"DROP POLICY tenant_isolation ON {table};"
            f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY;"
            f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY;"
            f"REVOKE ALL ON {table} FROM citestream_app;"
        )
    run_script("REVOKE ALL ON encoders FROM citestream_app")
