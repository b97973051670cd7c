# On an empty volume: the role that owns the schema, and the one that the service runs as, which
# owns nothing and which row level security holds. Both are no superusers.
psql --quiet --set=ON_ERROR_STOP=1 --username="${POSTGRES_USER:-postgres}" --dbname="$POSTGRES_DB" <<'SQL'
\getenv owner_password OWNER_PASSWORD
\getenv app_password APP_PASSWORD
CREATE ROLE citestream_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
    PASSWORD :'owner_password';
CREATE ROLE citestream_app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
    PASSWORD :'app_password';
ALTER DATABASE citestream OWNER TO citestream_owner;
REVOKE ALL ON DATABASE citestream FROM PUBLIC;
GRANT CONNECT ON DATABASE citestream TO citestream_app;
CREATE EXTENSION IF NOT EXISTS vector;
SQL
