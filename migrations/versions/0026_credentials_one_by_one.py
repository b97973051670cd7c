"""Whose a credential is: a key's row, and its parent's and its user's where it has them."""

from importlib import import_module

from migrations.script import run_script

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

# As one join it read all users of a small table with each request, and planned for tables as they
# once were. Plans are made once a session: each statement has one index to use.
RESOLVE = """
CREATE OR REPLACE FUNCTION resolve_credential(
    p_key_hash bytea, p_user text, p_tenant text, p_issued timestamptz,
    OUT key_id bigint, OUT user_id bigint, OUT tenant_id bigint, OUT subject text, OUT role text,
    OUT portfolios bigint[]
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_roles CONSTANT text[] := '{owner,admin,member}';
    v_key api_keys;
    v_role text := 'owner';
    v_tenant bigint;
    v_count integer;
BEGIN
    IF p_key_hash IS NOT NULL THEN
        SELECT k.* INTO v_key FROM api_keys k
         WHERE k.key_hash = p_key_hash AND k.revoked_at IS NULL
           AND (k.expires_at IS NULL OR k.expires_at > now());
        IF NOT FOUND THEN
            RETURN;
        END IF;
        IF v_key.parent_id IS NOT NULL THEN
            PERFORM FROM api_keys p
              WHERE p.id = v_key.parent_id AND p.revoked_at IS NULL
                AND (p.expires_at IS NULL OR p.expires_at > now());
            IF NOT FOUND THEN
                RETURN;
            END IF;
        END IF;
        IF v_key.user_id IS NOT NULL THEN
            SELECT u.role INTO v_role FROM users u
             WHERE u.id = v_key.user_id AND u.disabled_at IS NULL
               AND (v_key.kind = 'key' OR u.tokens_after IS NULL
                    OR v_key.created_at >= u.tokens_after);
            IF NOT FOUND THEN
                RETURN;
            END IF;
        END IF;
        key_id := v_key.id;
        user_id := v_key.user_id;
        tenant_id := v_key.tenant_id;
        subject := coalesce('user:' || v_key.user_id,
                            'key:' || coalesce(v_key.parent_id, v_key.id));
        role := v_roles[greatest(array_position(v_roles, v_key.role),
                                 array_position(v_roles, v_role))];
        portfolios := v_key.portfolio_ids;
        RETURN;
    END IF;
    p_user := lower(p_user);  -- once, whatever is looked through
    IF p_tenant IS NOT NULL THEN
        SELECT t.id INTO v_tenant FROM tenants t WHERE t.name = p_tenant;
        IF NOT FOUND THEN
            RETURN;
        END IF;
    END IF;
    -- A token of before the user was added is of somebody who had the address then, and may have
    -- been removed since. Tokens tell whole seconds.
    SELECT count(*), min(u.id), min(u.tenant_id), 'user:' || min(u.id), min(u.role)
      INTO v_count, user_id, tenant_id, subject, role
      FROM users u
     WHERE u.email = p_user AND (v_tenant IS NULL OR u.tenant_id = v_tenant)
       AND u.disabled_at IS NULL
       AND p_issued >= greatest(u.tokens_after, date_trunc('second', u.created_at));
    IF v_count <> 1 THEN
        user_id := NULL; tenant_id := NULL; subject := NULL; role := NULL;
    END IF;
END $$;
"""


def upgrade() -> None:
    run_script(RESOLVE)


def downgrade() -> None:
    former = str(import_module("migrations.versions.0016_identity").RESOLVE)
    run_script(former.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1))
