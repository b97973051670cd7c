"""What every search returns: a chunk with its place among its neighbours."""

from migrations.script import drop_functions, for_the_service, run_script

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Cut at a chunk's own end and the next one's start; after the last there is nothing to join.
# Tenant by tenant, because the policies bind the owner too.
COLUMNS = """
ALTER TABLE rag_chunk ADD COLUMN tail text NOT NULL DEFAULT '';
DO $$
DECLARE
    v_tenant bigint;
BEGIN
    FOR v_tenant IN SELECT id FROM tenants LOOP
        PERFORM set_config('app.tenant_id', v_tenant::text, true);
        UPDATE rag_chunk c SET tail = substr(d.text, c.end_char + 1, n.start_char - c.end_char)
          FROM documents d, rag_chunk n
         WHERE d.id = c.document_id AND n.document_id = c.document_id
           AND n.ordinal = c.ordinal + 1 AND n.start_char > c.end_char;
    END LOOP;
    PERFORM set_config('app.tenant_id', '', true);
END $$;
"""

# The best first, whatever the arrays' order. Run as the caller, who has set the tenant.
CHUNK_HITS = """
CREATE FUNCTION chunk_hits(p_ids bigint[], p_scores double precision[]) RETURNS TABLE (
    chunk_id bigint, document_id bigint, title text, uri text, text text, start_char integer,
    end_char integer, language text, ordinal integer, tail text, score double precision
) LANGUAGE sql STABLE ROWS 20 AS $$
    SELECT c.id, d.id, d.title, d.uri, c.text, c.start_char, c.end_char, c.language, c.ordinal,
           c.tail, n.score
      FROM unnest(p_ids, p_scores) AS n(id, score)
      JOIN rag_chunk c ON c.id = n.id
      JOIN documents d ON d.id = c.document_id
     ORDER BY n.score DESC, n.id
$$;
"""

HITS = "chunk_hits(bigint[], double precision[])"


def upgrade() -> None:
    run_script(COLUMNS)
    run_script(CHUNK_HITS)
    for_the_service(HITS)


def downgrade() -> None:
    drop_functions(HITS)
    run_script("ALTER TABLE rag_chunk DROP COLUMN tail")
