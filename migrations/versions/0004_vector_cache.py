"""Vectors of texts by their hash, so that no text is encoded twice for a tenant."""

from migrations.script import run_script

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Each tenant has its own: a common one would tell a tenant which texts another has, by the time
# that encoding them takes.
TABLE = """
CREATE TABLE vector_cache (
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    encoder_id integer NOT NULL REFERENCES encoders,
    text_hash bytea NOT NULL CHECK (length(text_hash) = 32),
    embedding halfvec NOT NULL,
    used_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, encoder_id, text_hash)
);
CREATE INDEX ix_vector_cache_used_at ON vector_cache (used_at);

ALTER TABLE vector_cache ENABLE ROW LEVEL SECURITY;
ALTER TABLE vector_cache FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON vector_cache
    USING (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (used_at) ON vector_cache TO citestream_app;
"""

# The owner removes what nobody has used for thirty days, of any tenant, and sees nothing else.
PRUNING = """
CREATE POLICY owner_across_tenants ON vector_cache FOR SELECT TO CURRENT_USER
    USING (used_at < now() - interval '30 days');
CREATE POLICY owner_prunes ON vector_cache FOR DELETE TO CURRENT_USER
    USING (used_at < now() - interval '30 days');

CREATE FUNCTION prune_vectors(p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_pruned integer;
BEGIN
    -- One at a time: two would wait for each other's rows.
    IF NOT pg_try_advisory_xact_lock(hashtext('prune_vectors')) THEN
        RETURN 0;
    END IF;
    DELETE FROM vector_cache v USING (
        SELECT o.tenant_id, o.encoder_id, o.text_hash FROM vector_cache o
         WHERE o.used_at < now() - interval '30 days' ORDER BY o.used_at LIMIT p_limit) old
     WHERE v.tenant_id = old.tenant_id AND v.encoder_id = old.encoder_id
       AND v.text_hash = old.text_hash AND v.used_at < now() - interval '30 days';
    GET DIAGNOSTICS v_pruned = ROW_COUNT;
    RETURN v_pruned;
END $$;
REVOKE ALL ON FUNCTION prune_vectors(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION prune_vectors(integer) TO citestream_app;
"""


def upgrade() -> None:
    run_script(TABLE)
    run_script(PRUNING)


def downgrade() -> None:
    run_script("DROP FUNCTION prune_vectors(integer)")
    run_script("DROP TABLE vector_cache")
