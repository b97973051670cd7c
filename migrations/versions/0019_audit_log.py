"""Who did what, to what, and how it ended: written once, and by nobody changed."""

from migrations.script import drop_functions, for_nobody, for_the_service, run_script

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

# No foreign key: what was done stays recorded when its tenant is gone. Ids of objects are texts,
# since some are numbers and some UUIDs.
TABLE = """
CREATE TABLE audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT audit_log_pkey PRIMARY KEY,
    tenant_id bigint NOT NULL,
    at timestamptz NOT NULL,
    subject text NOT NULL,
    role text NOT NULL,
    action text NOT NULL,
    object_kind text NOT NULL,
    object_id text,
    result text NOT NULL
        CHECK (result IN ('ok', 'denied', 'limited', 'not_found', 'refused', 'failed')),
    status smallint NOT NULL,
    count integer NOT NULL DEFAULT 1,
    request_id text NOT NULL,
    address text
);
CREATE INDEX ix_audit_log_tenant_id ON audit_log (tenant_id, id);
CREATE INDEX ix_audit_log_at ON audit_log (at);

ALTER TABLE audit_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_log FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON audit_log
    USING (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::bigint);
CREATE POLICY for_owners ON audit_log AS RESTRICTIVE FOR SELECT TO citestream_app
    USING (current_setting('app.role', true) = 'owner');
GRANT SELECT, INSERT ON audit_log TO citestream_app;
"""

# The service's role has no right to change a row. This holds for the others too, by mistake at
# least: who owns a table can always take its triggers away, and has to mean it.
UNCHANGED = """
CREATE FUNCTION refuse_to_forget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('app.forgetting', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'audit_log is append-only; forget_audit() removes what is old'
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION refuse_to_forget();
CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_forget();
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER append_only_whole;

CREATE POLICY owner_across_tenants ON audit_log FOR SELECT TO CURRENT_USER USING (true);
CREATE POLICY owner_forgets ON audit_log FOR DELETE TO CURRENT_USER USING (true);

-- For the owner, by hand or by cron: of all tenants, how many entries there were before `p_before`.
CREATE FUNCTION forget_audit(p_before timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_count bigint;
BEGIN
    PERFORM set_config('app.forgetting', 'on', true);
    DELETE FROM audit_log WHERE at < p_before;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    PERFORM set_config('app.forgetting', '', true);
    RETURN v_count;
END $$;
"""

# Who a credential was given to, whether it is still good or not: a refused one is recorded where
# its tenant is known. A user is known by a verified token, in one tenant only or in the named one.
REFUSED = """
CREATE FUNCTION holder_of(
    p_key_hash bytea, p_user text, p_tenant text,
    OUT tenant_id bigint, OUT subject text, OUT role text
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT CASE WHEN count(*) = 1 THEN min(held.tenant_id) END,
           CASE WHEN count(*) = 1 THEN min(held.subject) END,
           CASE WHEN count(*) = 1 THEN min(held.role) END
      FROM (SELECT k.tenant_id, k.role,
                   coalesce('user:' || k.user_id, 'key:' || coalesce(k.parent_id, k.id)) AS subject
              FROM api_keys k WHERE k.key_hash = p_key_hash
            UNION ALL
            SELECT u.tenant_id, u.role, 'user:' || u.id
              FROM users u JOIN tenants t ON t.id = u.tenant_id
             WHERE p_key_hash IS NULL AND u.email = lower(p_user)
               AND (p_tenant IS NULL OR t.name = p_tenant)) held
$$;
"""

HOLDER = "holder_of(bytea, text, text)"
FORGET = "forget_audit(timestamptz)"
REFUSE = "refuse_to_forget()"


def upgrade() -> None:
    run_script(TABLE)
    run_script(UNCHANGED)
    run_script(REFUSED)
    for_nobody(FORGET, REFUSE)
    for_the_service(HOLDER)


def downgrade() -> None:
    run_script("DROP TABLE audit_log")
    drop_functions(HOLDER, FORGET, REFUSE)
