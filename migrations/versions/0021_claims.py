"""What a process that died was indexing is taken up by another soon, and nothing before that."""

from importlib import import_module

from migrations.script import drop_functions, for_the_service, run_script

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

# A claim is renewed every few seconds, however long its text takes.
CLAIMS = """
CREATE OR REPLACE FUNCTION claim_uploads(p_limit integer, p_ids bigint[])
RETURNS SETOF document_uploads
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    UPDATE document_uploads SET claimed_at = now(), attempts = attempts + 1
     WHERE id IN (
        SELECT id FROM document_uploads
         WHERE (claimed_at IS NULL OR claimed_at < now() - interval '30 seconds')
           AND (p_ids IS NULL OR id = ANY (p_ids))
         ORDER BY id LIMIT p_limit FOR UPDATE SKIP LOCKED)
    RETURNING *
$$;

-- Those that are claimed as they were then; one that is locked is being stored or given back.
CREATE FUNCTION keep_uploads(p_ids bigint[], p_attempts integer[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    UPDATE document_uploads SET claimed_at = now()
     WHERE id IN (
        SELECT u.id FROM document_uploads u
          JOIN unnest(p_ids, p_attempts) AS ours (id, attempts) USING (id, attempts)
         WHERE u.claimed_at IS NOT NULL
           FOR NO KEY UPDATE OF u SKIP LOCKED)
$$;
"""
KEEP = "keep_uploads(bigint[], integer[])"


def upgrade() -> None:
    run_script(CLAIMS)
    for_the_service(KEEP)


def downgrade() -> None:
    drop_functions(KEEP)
    functions = import_module("migrations.versions.0003_functions").ACROSS_TENANTS
    former = str(functions[functions.index("CREATE FUNCTION claim_uploads") :])
    run_script(former.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1))
