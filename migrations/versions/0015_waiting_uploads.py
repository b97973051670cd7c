"""How much waits to be indexed, of all tenants together: for those who run the service."""

from migrations.script import drop_functions, for_the_service, run_script

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

COUNT = "count_waiting_uploads()"
FUNCTION = """
CREATE FUNCTION count_waiting_uploads(OUT waiting bigint, OUT oldest_seconds double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT count(*), coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8
      FROM document_uploads
$$;
"""


def upgrade() -> None:
    run_script(FUNCTION)
    for_the_service(COUNT)


def downgrade() -> None:
    drop_functions(COUNT)
