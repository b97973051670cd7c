"""Who acts: users, sessions and limited keys; whose conversations are, and who may read what."""

from migrations.script import drop_functions, for_nobody, for_the_service, run_script

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

TABLES = """
ALTER TABLE users
    ADD COLUMN name text NOT NULL DEFAULT '',
    ADD COLUMN disabled_at timestamptz,
    ADD COLUMN tokens_after timestamptz,
    ADD COLUMN created_at timestamptz NOT NULL DEFAULT now(),
    ADD CONSTRAINT users_email_check CHECK (email = lower(email) AND email <> '');
CREATE INDEX ix_users_email ON users (email);
GRANT INSERT, UPDATE, DELETE ON users TO citestream_app;

-- A session is what the page signs in with. It ends with the key that it was opened with, or with
-- its user.
ALTER TABLE api_keys
    ADD COLUMN kind text NOT NULL DEFAULT 'key' CHECK (kind IN ('key', 'session')),
    ADD COLUMN parent_id bigint CONSTRAINT api_keys_parent_id_fkey
        REFERENCES api_keys ON DELETE CASCADE,
    ADD COLUMN portfolio_ids bigint[];
CREATE INDEX ix_api_keys_parent_id ON api_keys (parent_id);
GRANT UPDATE (revoked_at), DELETE ON api_keys TO citestream_app;

-- A portfolio without a row is open to its tenant and written by owners and admins.
CREATE TABLE portfolio_access (
    portfolio_id bigint PRIMARY KEY REFERENCES portfolios ON DELETE CASCADE,
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    readers text[],
    writers text[] NOT NULL DEFAULT '{}'
);
CREATE INDEX ix_portfolio_access_tenant_id ON portfolio_access (tenant_id);
ALTER TABLE portfolio_access ENABLE ROW LEVEL SECURITY;
ALTER TABLE portfolio_access FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON portfolio_access
    USING (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE, DELETE ON portfolio_access TO citestream_app;

-- What was said before there were users was said to the owner.
-- A limited key shares its user's subject, and must not read there what it may not ask: of a
-- conversation are noted the portfolios of the limits under which it was led, NULL without one.
ALTER TABLE conversations
    ADD COLUMN subject text NOT NULL DEFAULT 'owner',
    ADD COLUMN portfolios bigint[];
ALTER TABLE conversations
    ALTER COLUMN subject SET DEFAULT NULLIF(current_setting('app.subject', true), ''),
    ALTER COLUMN portfolios
        SET DEFAULT NULLIF(current_setting('app.portfolios', true), '')::bigint[];
DROP INDEX ix_conversations_tenant_id;
CREATE INDEX ix_conversations_tenant_id ON conversations (tenant_id, subject, updated_at, id);

CREATE POLICY owner_across_tenants ON users FOR SELECT TO CURRENT_USER USING (true);
"""

# `enter` is called where a function's tenant is given, so that one statement is one round trip.
# Arguments are evaluated before the function is. Everything is set for the transaction only; what
# the access lists keep from a member, and let him write, is looked up here once for all policies.
# An assignment costs a tenth of PERFORM, which is a statement; hence `v_set`.
ENTERING = """
CREATE FUNCTION enter(p_tenant bigint, p_subject text, p_role text, p_portfolios bigint[])
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_set text;
    v_hidden text := '{}';
    v_written text := '{}';
BEGIN
    v_set := set_config('app.tenant_id', coalesce(p_tenant::text, ''), true)
          || set_config('app.subject', coalesce(p_subject, ''), true)
          || set_config('app.role', coalesce(p_role, ''), true)
          || set_config('app.portfolios', coalesce(p_portfolios::text, ''), true);
    IF (p_role IN ('owner', 'admin')) IS NOT TRUE THEN
        SELECT coalesce(array_agg(a.portfolio_id) FILTER (
                   WHERE a.readers IS NOT NULL
                     AND (p_subject = ANY (a.readers || a.writers)) IS NOT TRUE), '{}'),
               coalesce(array_agg(a.portfolio_id) FILTER (
                   WHERE p_subject = ANY (a.writers)), '{}')
          INTO v_hidden, v_written
          FROM portfolio_access a;
    END IF;
    v_set := set_config('app.hidden', v_hidden, true) || set_config('app.written', v_written, true);
    RETURN p_tenant;
END $$;

CREATE FUNCTION may_write(p_portfolio bigint) RETURNS boolean LANGUAGE sql STABLE
RETURN coalesce(
    current_setting('app.role', true) IN ('owner', 'admin')
    OR p_portfolio = ANY (NULLIF(current_setting('app.written', true), '')::bigint[]), false);

-- What was said in a conversation stays in it, so its limit only ever gets wider.
CREATE FUNCTION widen_conversation() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_limit bigint[] := NULLIF(current_setting('app.portfolios', true), '')::bigint[];
BEGIN
    IF v_limit IS NULL OR NOT v_limit <@ OLD.portfolios THEN
        NEW.portfolios := CASE WHEN v_limit IS NOT NULL THEN OLD.portfolios || v_limit END;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER widened BEFORE UPDATE ON conversations
    FOR EACH ROW EXECUTE FUNCTION widen_conversation();
"""

# Beyond the tenant's policy, and for the service only: what the owner's functions do across
# tenants is nobody's in particular. The sub-selects are evaluated once a statement. Before `enter`
# nothing with a portfolio is seen.
HIDDEN = "(SELECT NULLIF(current_setting('app.hidden', true), '')::bigint[])::bigint[]"
LIMITED = "(SELECT NULLIF(current_setting('app.portfolios', true), '')::bigint[])"


def visible(column: str) -> str:
    return (
        f"coalesce({column} <> ALL ({HIDDEN}), {column} IS NULL) AND "
        f"coalesce({column} = ANY ({LIMITED}::bigint[]), true)"
    )


def policies() -> str:
    written = "may_write(portfolio_id)"
    lines = [
        "CREATE POLICY own ON conversations AS RESTRICTIVE TO citestream_app "
        "USING (subject = current_setting('app.subject', true) "
        f"AND coalesce(portfolios <@ {LIMITED}, {LIMITED} IS NULL)) "
        "WITH CHECK (subject = current_setting('app.subject', true))",
        "CREATE POLICY visible ON portfolios AS RESTRICTIVE TO citestream_app "
        f"USING ({visible('id')}) WITH CHECK (true)",
        "CREATE POLICY visible ON agents AS RESTRICTIVE TO citestream_app "
        f"USING ({visible('portfolio_id')} AND {visible('persona_portfolio_id')})",
    ]
    for table in ("documents", "document_uploads"):
        start = f"ON {table} AS RESTRICTIVE"
        lines += [
            f"CREATE POLICY visible {start} TO citestream_app USING ({visible('portfolio_id')})",
            f"CREATE POLICY added {start} FOR INSERT TO citestream_app WITH CHECK ({written})",
            f"CREATE POLICY changed {start} FOR UPDATE TO citestream_app USING ({written})",
            f"CREATE POLICY removed {start} FOR DELETE TO citestream_app USING ({written})",
        ]
    return ";\n".join(lines)


# Every kind of credential, by one function. A key has at most its user's role; an address that is
# a user's of several tenants needs the tenant's name.
RESOLVE = """
CREATE FUNCTION resolve_credential(
    p_key_hash bytea, p_user text, p_tenant text, p_issued timestamptz,
    OUT key_id bigint, OUT user_id bigint, OUT tenant_id bigint, OUT subject text, OUT role text,
    OUT portfolios bigint[]
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_roles CONSTANT text[] := '{owner,admin,member}';
    v_count integer;
BEGIN
    IF p_key_hash IS NOT NULL THEN
        SELECT k.id, k.user_id, k.tenant_id,
               coalesce('user:' || k.user_id, 'key:' || coalesce(k.parent_id, k.id)),
               v_roles[greatest(array_position(v_roles, k.role),
                                array_position(v_roles, coalesce(u.role, 'owner')))],
               k.portfolio_ids
          INTO key_id, user_id, tenant_id, subject, role, portfolios
          FROM api_keys k
          LEFT JOIN api_keys p ON p.id = k.parent_id
          LEFT JOIN users u ON u.id = k.user_id
         WHERE k.key_hash = p_key_hash AND k.revoked_at IS NULL
           AND (k.expires_at IS NULL OR k.expires_at > now())
           AND p.revoked_at IS NULL AND (p.expires_at IS NULL OR p.expires_at > now())
           AND u.disabled_at IS NULL
           AND (k.kind = 'key' OR u.tokens_after IS NULL OR k.created_at >= u.tokens_after);
        RETURN;
    END IF;
    -- A token of before the user was added is of somebody who had the address then, and may have
    -- been removed since. Tokens tell whole seconds.
    SELECT count(*), min(u.id), min(u.tenant_id), 'user:' || min(u.id), min(u.role)
      INTO v_count, user_id, tenant_id, subject, role
      FROM users u JOIN tenants t ON t.id = u.tenant_id
     WHERE u.email = lower(p_user) AND (p_tenant IS NULL OR t.name = p_tenant)
       AND u.disabled_at IS NULL
       AND p_issued >= greatest(u.tokens_after, date_trunc('second', u.created_at));
    IF v_count <> 1 THEN
        user_id := NULL; tenant_id := NULL; subject := NULL; role := NULL;
    END IF;
END $$;
"""
FORMER_RESOLVE = """
CREATE FUNCTION resolve_api_key(
    p_hash bytea, OUT key_id bigint, OUT tenant_id bigint, OUT role text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT k.id, k.tenant_id, k.role FROM api_keys k
     WHERE k.key_hash = p_hash AND k.revoked_at IS NULL
       AND (k.expires_at IS NULL OR k.expires_at > now())
$$;
"""

ENTER = "enter(bigint, text, text, bigint[])"
WRITES = "may_write(bigint)"
WIDEN = "widen_conversation()"
CREDENTIAL = "resolve_credential(bytea, text, text, timestamptz)"
FORMER = "resolve_api_key(bytea)"


def upgrade() -> None:
    run_script(TABLES)
    run_script(ENTERING)
    run_script(policies())
    drop_functions(FORMER)
    run_script(RESOLVE)
    for_the_service(ENTER, WRITES, CREDENTIAL)
    for_nobody(WIDEN)


def downgrade() -> None:
    """Sessions go, and so do limits of keys: a key that was limited to some portfolios would be
    one for all, and is revoked."""
    for table in ("documents", "document_uploads"):
        for policy in ("visible", "added", "changed", "removed"):
            run_script(f"DROP POLICY {policy} ON {table}")
    drop_functions(CREDENTIAL)
    run_script(
        """
        DROP POLICY visible ON agents;
        DROP POLICY visible ON portfolios;
        DROP POLICY own ON conversations;
        DROP POLICY owner_across_tenants ON users;
        DO $$
        DECLARE
            v_tenant bigint;
        BEGIN
            FOR v_tenant IN SELECT id FROM tenants LOOP
                PERFORM set_config('app.tenant_id', v_tenant::text, true);
                DELETE FROM api_keys WHERE kind = 'session';
                UPDATE api_keys SET revoked_at = now()
                 WHERE portfolio_ids IS NOT NULL AND revoked_at IS NULL;
            END LOOP;
            PERFORM set_config('app.tenant_id', '', true);
        END $$;
        DROP INDEX ix_conversations_tenant_id;
        DROP TRIGGER widened ON conversations;
        ALTER TABLE conversations DROP COLUMN subject, DROP COLUMN portfolios;
        CREATE INDEX ix_conversations_tenant_id ON conversations (tenant_id, updated_at, id);
        DROP TABLE portfolio_access;
        REVOKE UPDATE (revoked_at), DELETE ON api_keys FROM citestream_app;
        ALTER TABLE api_keys DROP COLUMN kind, DROP COLUMN parent_id, DROP COLUMN portfolio_ids;
        REVOKE INSERT, UPDATE, DELETE ON users FROM citestream_app;
        ALTER TABLE users
            DROP CONSTRAINT users_email_check,
            DROP COLUMN name, DROP COLUMN disabled_at, DROP COLUMN tokens_after,
            DROP COLUMN created_at;
        DROP INDEX ix_users_email
        """
    )
    drop_functions(WRITES, ENTER, WIDEN)
    run_script(FORMER_RESOLVE)
    for_the_service(FORMER)
