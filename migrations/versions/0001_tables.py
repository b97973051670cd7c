"""Tables, their keys and indexes."""

from migrations.script import run_script

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# The service's role and pgvector are the operator's (or the embedded server's) to make; where
# this role may make them itself, it does, and where it may not, it says what to run.
PREREQUISITES = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector') THEN
        BEGIN
            CREATE EXTENSION vector;
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION 'The extension "vector" is missing and the role "%" may not '
                    'create it; run CREATE EXTENSION vector as a superuser in the database "%".',
                    current_user, current_database();
            WHEN undefined_file OR feature_not_supported THEN
                RAISE EXCEPTION 'pgvector is not installed on this server; install it, then run '
                    'CREATE EXTENSION vector in the database "%".', current_database();
        END;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'citestream_app') THEN
        BEGIN
            CREATE ROLE citestream_app NOLOGIN NOSUPERUSER NOBYPASSRLS;
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION 'The role "citestream_app" is missing and the role "%" may not '
                    'create it; run CREATE ROLE citestream_app LOGIN as a superuser.',
                    current_user;
            WHEN duplicate_object OR unique_violation THEN
                NULL;  -- made meanwhile by the migration of another database of this server
        END;
    END IF;
END $$;
"""

TABLES = """
CREATE TABLE tenants (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    cache_epoch bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT uq_tenants_name UNIQUE (name)
);

CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    email text NOT NULL,
    role text NOT NULL CHECK (role IN ('owner', 'admin', 'member')),
    CONSTRAINT uq_users_tenant_id_email UNIQUE (tenant_id, email)
);

CREATE TABLE api_keys (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    user_id bigint REFERENCES users ON DELETE CASCADE,
    name text NOT NULL,
    role text NOT NULL CHECK (role IN ('owner', 'admin', 'member')),
    key_hash bytea NOT NULL CHECK (length(key_hash) = 32),
    last4 text NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT uq_api_keys_key_hash UNIQUE (key_hash)
);
CREATE INDEX ix_api_keys_tenant_id ON api_keys (tenant_id);
CREATE INDEX ix_api_keys_user_id ON api_keys (user_id);

CREATE TABLE portfolios (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    version bigint NOT NULL DEFAULT 1,
    cache_epoch bigint NOT NULL DEFAULT 0,
    document_count bigint NOT NULL DEFAULT 0,
    chunk_count bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT uq_portfolios_tenant_id_name UNIQUE (tenant_id, name)
);

CREATE TABLE agents (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    system_prompt text NOT NULL DEFAULT '',
    provider text NOT NULL DEFAULT 'auto'
        CHECK (provider IN ('auto', 'openai', 'mistral', 'extractive')),
    model text,
    portfolio_id bigint REFERENCES portfolios ON DELETE SET NULL,
    top_k integer NOT NULL DEFAULT 15 CHECK (top_k >= 0),
    max_tokens integer NOT NULL DEFAULT 6000 CHECK (max_tokens > 0),
    temperature double precision NOT NULL DEFAULT 0.2 CHECK (temperature >= 0),
    version bigint NOT NULL DEFAULT 1,
    cache_epoch bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT uq_agents_tenant_id_name UNIQUE (tenant_id, name)
);
CREATE INDEX ix_agents_portfolio_id ON agents (portfolio_id);

-- Which model made a vector; not a tenant's. Made by ensure_encoder, with its indexes.
CREATE TABLE encoders (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    dimension integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT uq_encoders_name UNIQUE (name)
);

-- `revision` is the id of the upload that is indexed now, 0 before the first.
CREATE TABLE documents (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL,
    portfolio_id bigint NOT NULL REFERENCES portfolios ON DELETE CASCADE,
    title text NOT NULL,
    uri text,
    text text NOT NULL DEFAULT '',
    metadata jsonb NOT NULL DEFAULT '{}',
    language text NOT NULL DEFAULT 'und',
    content_hash bytea NOT NULL,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'indexed', 'failed')),
    error text,
    revision bigint NOT NULL DEFAULT 0,
    chunk_count integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_documents_portfolio_id ON documents (portfolio_id, id);
CREATE UNIQUE INDEX uq_documents_portfolio_id_uri
    ON documents (portfolio_id, uri) WHERE uri IS NOT NULL;
CREATE UNIQUE INDEX uq_documents_portfolio_id_content_hash
    ON documents (portfolio_id, content_hash) WHERE uri IS NULL;

CREATE TABLE document_uploads (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL,
    portfolio_id bigint NOT NULL REFERENCES portfolios ON DELETE CASCADE,
    document_id bigint NOT NULL REFERENCES documents ON DELETE CASCADE,
    title text NOT NULL,
    uri text,
    text text NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}',
    content_hash bytea NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    claimed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_document_uploads_portfolio_id ON document_uploads (portfolio_id);
CREATE INDEX ix_document_uploads_document_id ON document_uploads (document_id);

-- No GIN index on tsv: its operator is not leak-proof, so under row level security Postgres never
-- uses it. A portfolio's chunks are read by its btree and matched one by one: 1.7 µs each.
CREATE TABLE rag_chunk (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL,
    portfolio_id bigint NOT NULL,
    document_id bigint NOT NULL REFERENCES documents ON DELETE CASCADE,
    ordinal integer NOT NULL,
    start_char integer NOT NULL,
    end_char integer NOT NULL,
    text text NOT NULL,
    language text NOT NULL,
    tsv tsvector NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT uq_rag_chunk_portfolio_id_id UNIQUE (portfolio_id, id),
    CONSTRAINT uq_rag_chunk_document_id_ordinal UNIQUE (document_id, ordinal)
);

-- No dimension in the column's type: an encoder of another dimension needs no other table. The
-- store checks a vector's length before writing, and the HNSW index's cast refuses a wrong one.
-- The primary key is each partition's btree on portfolio_id, which the exact scan reads.
CREATE TABLE rag_embedding (
    portfolio_id bigint NOT NULL,
    chunk_id bigint NOT NULL,
    encoder_id integer NOT NULL REFERENCES encoders,
    tenant_id bigint NOT NULL,
    embedding halfvec NOT NULL,
    PRIMARY KEY (portfolio_id, chunk_id, encoder_id),
    FOREIGN KEY (portfolio_id, chunk_id) REFERENCES rag_chunk (portfolio_id, id) ON DELETE CASCADE
) PARTITION BY HASH (portfolio_id);
DO $$
BEGIN
    FOR part IN 0..15 LOOP
        EXECUTE format(
            'CREATE TABLE %I PARTITION OF rag_embedding FOR VALUES WITH (MODULUS 16, REMAINDER %s)',
            'rag_embedding_p' || lpad(part::text, 2, '0'), part);
    END LOOP;
END $$;

-- Ids of the four tables below come from the application (UUIDv7): it answers before it stores.
CREATE TABLE conversations (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    agent_id bigint NOT NULL REFERENCES agents ON DELETE CASCADE,
    title text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_conversations_tenant_id ON conversations (tenant_id, updated_at, id);
CREATE INDEX ix_conversations_agent_id ON conversations (agent_id);

CREATE TABLE messages (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL,
    conversation_id uuid NOT NULL REFERENCES conversations ON DELETE CASCADE,
    run_id uuid,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    role text NOT NULL CHECK (role IN ('user', 'assistant')),
    content text NOT NULL,
    status text NOT NULL CHECK (status IN ('complete', 'interrupted', 'error')),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_messages_conversation_id ON messages (conversation_id, seq);

-- No key to documents or chunks: a citation outlives what it cites.
CREATE TABLE citations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL,
    message_id uuid NOT NULL REFERENCES messages ON DELETE CASCADE,
    number integer NOT NULL,
    document_id bigint NOT NULL,
    chunk_id bigint NOT NULL,
    title text NOT NULL,
    uri text,
    quote text NOT NULL,
    start_char integer NOT NULL,
    end_char integer NOT NULL,
    score double precision NOT NULL
);
CREATE INDEX ix_citations_message_id ON citations (message_id, number);

CREATE TABLE runs (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL,
    agent_id bigint NOT NULL REFERENCES agents ON DELETE CASCADE,
    conversation_id uuid NOT NULL REFERENCES conversations ON DELETE CASCADE,
    question_id uuid NOT NULL,
    message_id uuid NOT NULL,
    status text NOT NULL CHECK (status IN ('complete', 'interrupted', 'error')),
    cached boolean NOT NULL,
    language text NOT NULL,
    complexity text NOT NULL,
    finish_reason text,
    error_code text,
    usage jsonb NOT NULL,
    timings_ms jsonb NOT NULL,
    degraded text[] NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL
);
CREATE INDEX ix_runs_agent_id ON runs (agent_id);
CREATE INDEX ix_runs_conversation_id ON runs (conversation_id, id);
"""


def upgrade() -> None:
    run_script(PREREQUISITES)
    run_script(TABLES)


def downgrade() -> None:
    """Drop the tables. The extension and the role stay: others may use them."""
    run_script(
        "DROP TABLE runs, citations, messages, conversations, rag_embedding, rag_chunk, "
        "document_uploads, documents, encoders, agents, portfolios, api_keys, users, tenants"
    )
