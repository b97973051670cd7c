"""Which names stand in which chunks."""

from typing import Any

from alembic import op

from app.ingest.entities import entities
from app.ingest.ports import Span
from migrations.script import drop_functions, for_the_service, run_script

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# A row for each name and chunk, and none for the name alone: nothing is left over when chunks go,
# and two that index at the same time have no row in common. Both ways through the graph are read
# from an index alone, the tenant for the policy included.
TABLE = """
CREATE TABLE rag_mention (
    portfolio_id bigint NOT NULL,
    key text COLLATE "C" NOT NULL,
    chunk_id bigint NOT NULL,
    tenant_id bigint NOT NULL,
    PRIMARY KEY (portfolio_id, key, chunk_id) INCLUDE (tenant_id),
    FOREIGN KEY (portfolio_id, chunk_id) REFERENCES rag_chunk (portfolio_id, id) ON DELETE CASCADE
);
CREATE INDEX ix_rag_mention_chunk_id ON rag_mention (portfolio_id, chunk_id)
    INCLUDE (key, tenant_id);

ALTER TABLE rag_mention ENABLE ROW LEVEL SECURITY;
ALTER TABLE rag_mention FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON rag_mention
    USING (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, DELETE ON rag_mention TO citestream_app;
"""

# Names that the question may have, the chunks that have them (`near`, those first that have rare
# names and several), the other names there, and where else those stand: two hops.
#
# A name in more than a tenth of the chunks connects everything with everything; it is left out,
# but never in fewer than eight chunks, so that small portfolios have a graph. The other limits
# are what a question may cost, whatever the portfolio's size: 256 chunks of a name asked about,
# the best 64 of them, the 128 names that stand there first, 24 chunks of each of those.
#
# Where there are filters, a chunk that does not match is not even stepped on.
SEARCH = """
CREATE FUNCTION graph_neighbourhood(
    p_tenant bigint, p_portfolio bigint, p_keys text[], p_filters jsonb
) RETURNS TABLE (key text, asked boolean, chunks bigint[])
LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
DECLARE
    v_common bigint;
    v_documents bigint[];
    v_filtered boolean := p_filters <> '{}';
BEGIN
    PERFORM set_config('app.tenant_id', p_tenant::text, true);
    SELECT greatest(8, p.chunk_count / 10) INTO v_common FROM portfolios p WHERE p.id = p_portfolio;
    IF NOT FOUND THEN
        RAISE no_data_found USING MESSAGE = 'portfolio';
    END IF;
    IF v_filtered THEN
        v_documents := matching_documents(p_portfolio, p_filters);
    END IF;
    RETURN QUERY
    WITH asked AS MATERIALIZED (
        SELECT k.key, s.chunks
          FROM unnest(p_keys) AS k(key),
               LATERAL (SELECT array_agg(l.chunk_id) AS chunks FROM (
                   SELECT m.chunk_id FROM rag_mention m
                    WHERE m.portfolio_id = p_portfolio AND m.key = k.key COLLATE "C"
                    LIMIT least(v_common, 256) + 1) l) s
         WHERE cardinality(s.chunks) <= least(v_common, 256)
    ), near AS MATERIALIZED (
        SELECT n.chunk_id, row_number() OVER (ORDER BY n.weight DESC, n.chunk_id) AS place
          FROM (SELECT c.chunk_id, sum(1.0::float8 / cardinality(a.chunks)) AS weight
                  FROM asked a, unnest(a.chunks) AS c(chunk_id)
                 WHERE NOT v_filtered OR EXISTS (
                     SELECT FROM rag_chunk f
                      WHERE f.id = c.chunk_id AND f.document_id = ANY (v_documents))
                 GROUP BY 1 ORDER BY weight DESC, 1 LIMIT 64) n
    ), linked AS MATERIALIZED (
        SELECT m.key, min(n.place) AS place
          FROM near n
          JOIN rag_mention m ON m.portfolio_id = p_portfolio AND m.chunk_id = n.chunk_id
         GROUP BY 1 ORDER BY 2, 1 LIMIT 128
    ), reached AS MATERIALIZED (
        SELECT l.key, s.chunks
          FROM linked l,
               LATERAL (SELECT array_agg(r.chunk_id) AS chunks FROM (
                   SELECT m.chunk_id FROM rag_mention m
                    WHERE m.portfolio_id = p_portfolio AND m.key = l.key
                    LIMIT least(v_common, 24) + 1) r) s
         WHERE cardinality(s.chunks) BETWEEN 2 AND least(v_common, 24)
           AND NOT EXISTS (SELECT FROM asked a WHERE a.key = l.key)
    )
    SELECT a.key, true, ARRAY(
               SELECT c.chunk_id FROM unnest(a.chunks) AS c(chunk_id)
                 JOIN near n ON n.chunk_id = c.chunk_id)
      FROM asked a
    UNION ALL
    SELECT r.key, false, CASE WHEN v_filtered THEN ARRAY(
               SELECT f.id FROM rag_chunk f
                WHERE f.id = ANY (r.chunks) AND f.document_id = ANY (v_documents))
           ELSE r.chunks END
      FROM reached r;
END $$;

CREATE FUNCTION graph_hits(p_tenant bigint, p_ids bigint[], p_scores double precision[])
RETURNS TABLE (
    chunk_id bigint, document_id bigint, title text, uri text, text text, start_char integer,
    end_char integer, language text, ordinal integer, tail text, score double precision
) LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    PERFORM set_config('app.tenant_id', p_tenant::text, true);
    RETURN QUERY SELECT * FROM chunk_hits(p_ids, p_scores);
END $$;
"""
SIGNATURES = (
    "graph_neighbourhood(bigint, bigint, text[], jsonb)",
    "graph_hits(bigint, bigint[], double precision[])",
)

TENANTS = "SELECT id FROM tenants"
DOCUMENTS = "SELECT id FROM documents WHERE tenant_id = $1 AND chunk_count > 0"
CHUNKS = """
SELECT d.title, d.text, d.language, array_agg(c.id ORDER BY c.ordinal) AS ids,
       array_agg(c.start_char ORDER BY c.ordinal) AS starts,
       array_agg(c.end_char ORDER BY c.ordinal) AS ends
  FROM documents d JOIN rag_chunk c ON c.document_id = d.id WHERE d.id = $1 GROUP BY d.id
"""
INSERT = """
INSERT INTO rag_mention (portfolio_id, key, chunk_id, tenant_id)
SELECT c.portfolio_id, g.key, c.id, c.tenant_id
  FROM unnest($1::bigint[], $2::text[]) AS g(chunk_id, key) JOIN rag_chunk c ON c.id = g.chunk_id
"""


async def fill(driver: Any) -> None:
    """Find the names in what is indexed already. Tenant by tenant, because the policies bind the
    owner too, and document by document, because texts are large."""
    for [tenant] in await driver.fetch(TENANTS):
        await driver.execute("SELECT set_config('app.tenant_id', $1, true)", str(tenant))
        for [document] in await driver.fetch(DOCUMENTS, tenant):
            row = await driver.fetchrow(CHUNKS, document)
            spans = [Span(*span) for span in zip(row["starts"], row["ends"], strict=True)]
            names = entities(row["title"], row["text"], spans, row["language"])
            pairs = [
                (chunk, key) for chunk, keys in zip(row["ids"], names, strict=True) for key in keys
            ]
            await driver.execute(INSERT, [chunk for chunk, _ in pairs], [key for _, key in pairs])
    await driver.execute("SELECT set_config('app.tenant_id', '', true)")


def upgrade() -> None:
    run_script(TABLE)
    adapted: Any = op.get_bind().connection.dbapi_connection
    adapted.run_async(fill)
    run_script(SEARCH)
    for_the_service(*SIGNATURES)


def downgrade() -> None:
    drop_functions(*SIGNATURES)
    run_script("DROP TABLE rag_mention")
