"""BM25: how often which term stands in which chunk, and in how many."""

from importlib import import_module

from migrations.script import drop_functions, for_the_service, run_script

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# A search reads the rows of many candidates: everything stays in line, and what it reads of a row
# comes first. `weights` is what a term adds to a score, its idf aside; `terms` and `counts` are
# what it is made from. The mean is the one in the weights, which follows the true one in steps.
TABLES = """
CREATE TABLE rag_terms (
    chunk_id bigint PRIMARY KEY REFERENCES rag_chunk ON DELETE CASCADE,
    portfolio_id bigint NOT NULL,
    tenant_id bigint NOT NULL,
    length integer NOT NULL,
    weights sparsevec NOT NULL,
    terms integer[] NOT NULL,
    counts smallint[] NOT NULL
) WITH (toast_tuple_target = 8160);

CREATE TABLE rag_frequencies (
    portfolio_id bigint NOT NULL REFERENCES portfolios ON DELETE CASCADE,
    term integer NOT NULL,
    tenant_id bigint NOT NULL,
    chunks integer NOT NULL,
    PRIMARY KEY (portfolio_id, term)
) WITH (fillfactor = 80);

ALTER TABLE portfolios
    ADD COLUMN length_total bigint NOT NULL DEFAULT 0,
    ADD COLUMN mean_length double precision NOT NULL DEFAULT 1;
"""

# The owner may read the terms past the policy, and nothing else: `&&` is not leak-proof, so
# under a policy that has to be asked for each row no index serves it. `rank_chunks` alone uses
# that, and asks for the tenant itself.
POLICIES = """
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON {table}
    USING (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO citestream_app;
"""
OWNER_READS = "CREATE POLICY owner_reads ON rag_terms FOR SELECT TO CURRENT_USER USING (true)"

# A term's key is a hash of portfolio, configuration and lexeme without its accents: an entry of
# the index is one portfolio's own. Of a billion, as a sparsevec has dimensions: among 100,000
# terms of a portfolio one in 10,000 shares its key with another.
#
# The title's words count as the chunk's. 16,000 is what a sparsevec holds.
TERMS = """
CREATE FUNCTION term_key(p_portfolio bigint, p_configuration text, p_lexeme text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    1 + mod(hashtextextended(p_configuration || ':' ||
        CASE WHEN octet_length(p_lexeme) = length(p_lexeme) THEN p_lexeme
             ELSE regexp_replace(normalize(p_lexeme, NFD), '[\\u0300-\\u036f]+', '', 'g') END,
        p_portfolio) & 9223372036854775807, 1000000000)::integer;

CREATE FUNCTION chunk_terms(
    p_portfolio bigint, p_language text, p_title text, p_text text,
    OUT terms integer[], OUT counts smallint[], OUT length integer
) LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(array_agg(k.term), '{}'), coalesce(array_agg(k.occurrences::smallint), '{}'),
           coalesce(sum(k.occurrences), 0)::integer
      FROM (
        SELECT term_key(p_portfolio, text_configuration(p_language)::text, w.lexeme) AS term,
               least(sum(cardinality(w.positions)), 32767) AS occurrences
          FROM unnest(to_tsvector(text_configuration(p_language), p_title || ' ' || p_text)) w
         GROUP BY 1 ORDER BY 1 LIMIT 16000) k
$$;
"""

# Lucene's BM25 since its version 8, without the constant factor k1 + 1 (Robertson and Zaragoza,
# "The Probabilistic Relevance Framework: BM25 and Beyond", 2009; Kamphuis et al., "Which BM25 Do
# You Mean?", 2020):
#     idf * count / (count + k1 * (1 - b + b * length / mean)),  k1 = 1.2, b = 0.75,
#     idf = ln(1 + (chunks - containing + 0.5) / (containing + 0.5))
# So no term adds more than its idf.
WEIGHTS = """
CREATE FUNCTION term_weights(
    p_terms integer[], p_counts smallint[], p_length integer, p_mean double precision
) RETURNS sparsevec LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ('{' || coalesce(string_agg(
               t.term || ':' || (t.occurrences
                   / (t.occurrences + 0.3 + 0.9 * p_length / p_mean))::real, ','), '')
            || '}/1000000000')::sparsevec
      FROM unnest(p_terms, p_counts) AS t(term, occurrences)
$$;
"""

# Tenant by tenant, because the policies bind the owner too.
FILL = """
DO $$
DECLARE
    v_tenant bigint;
BEGIN
    FOR v_tenant IN SELECT id FROM tenants LOOP
        PERFORM set_config('app.tenant_id', v_tenant::text, true);
        INSERT INTO rag_terms (chunk_id, portfolio_id, tenant_id, length, weights, terms, counts)
        SELECT c.id, c.portfolio_id, c.tenant_id, t.length, '{}/1000000000', t.terms, t.counts
          FROM rag_chunk c
          JOIN documents d ON d.id = c.document_id,
               LATERAL chunk_terms(c.portfolio_id, c.language, d.title, c.text) t;
        UPDATE portfolios p SET length_total = s.total, mean_length = greatest(s.mean, 1)
          FROM (SELECT portfolio_id, sum(length) AS total, avg(length) AS mean FROM rag_terms
                 WHERE tenant_id = v_tenant GROUP BY 1) s
         WHERE p.id = s.portfolio_id;
        UPDATE rag_terms t
           SET weights = term_weights(t.terms, t.counts, t.length, p.mean_length)
          FROM portfolios p WHERE p.id = t.portfolio_id;
        INSERT INTO rag_frequencies (portfolio_id, term, tenant_id, chunks)
        SELECT t.portfolio_id, u.term, v_tenant, count(*)
          FROM rag_terms t, unnest(t.terms) AS u(term)
         WHERE t.tenant_id = v_tenant GROUP BY 1, 2;
    END LOOP;
    PERFORM set_config('app.tenant_id', '', true);
END $$;
"""
# Without a list of pending entries: it makes writing a chunk 0.1 ms cheaper, and every search
# until it is worked off, by whoever fills it, read it from end to end.
INDEX = "CREATE INDEX ix_rag_terms_terms ON rag_terms USING gin (terms) WITH (fastupdate = off)"

# A word's key in each configuration; what the question's language calls a stop word is left out,
# with its accents or without ("que proyecto" asks as "qué proyecto" does), unless that is all
# there is. Positions say which lexemes are the same word: each chunk is in one configuration, so
# the word is in as many chunks as its lexemes are in together.
#
# Stable, so that all of a search sees the database at one moment. Where a filter leaves fewer
# chunks than hold the words, those are scored one by one; else:
#
# Chunks that hold one of the rarest words are scored first. A chunk that holds none of them has
# at most the sum of the other words' idf; where that could still reach the last place, as many
# more words are looked for as it takes: the result is exact, and a word that is everywhere costs
# nothing as long as rarer ones decide.
SEARCH = """
CREATE FUNCTION query_terms(p_portfolio bigint, p_query text, p_language text)
RETURNS TABLE (term integer, place integer) LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE ROWS 20 AS $$
DECLARE
    v_language regconfig := text_configuration(p_language);
    v_kept tsvector := to_tsvector(v_language, translate(p_query, 'áéíóúüÁÉÍÓÚÜ', 'aeiouuAEIOUU'));
BEGIN
    IF v_kept = '' THEN
        v_kept := to_tsvector(v_language, p_query);
    END IF;
    RETURN QUERY
        SELECT DISTINCT term_key(p_portfolio, c.name, w.lexeme), w.place::integer
          FROM unnest(ARRAY['english', 'spanish', 'simple']) AS c(name),
               LATERAL (SELECT u.lexeme, unnest(u.positions) AS place
                          FROM unnest(to_tsvector(c.name::regconfig, p_query)) u) w
         WHERE w.place IN (SELECT unnest(u.positions) FROM unnest(v_kept) u);
END $$;

CREATE FUNCTION rank_chunks(
    p_portfolio bigint, p_query text, p_language text, p_limit integer, p_chunks bigint[],
    OUT ids bigint[], OUT scores double precision[]
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    v_tenant bigint := NULLIF(current_setting('app.tenant_id', true), '')::bigint;
    v_chunks bigint;
    v_terms integer[];
    v_found integer[];
    v_idfs double precision[];
    v_query sparsevec;
    v_essential integer := 0;
    v_wanted integer;
    v_candidates bigint := 0;
    v_last double precision;
    v_others double precision;
BEGIN
    SELECT p.chunk_count INTO v_chunks FROM portfolios p WHERE p.id = p_portfolio;
    SELECT array_agg(t.term ORDER BY t.found, t.term), array_agg(t.found ORDER BY t.found, t.term)
      INTO v_terms, v_found
      FROM (
        SELECT w.term, max(w.found)::integer AS found
          FROM (
            SELECT q.term, sum(f.chunks) OVER (PARTITION BY q.place) AS found
              FROM query_terms(p_portfolio, p_query, p_language) q
              JOIN rag_frequencies f ON f.portfolio_id = p_portfolio AND f.term = q.term) w
         GROUP BY w.term) t;
    IF v_terms IS NULL THEN
        RETURN;
    END IF;
    SELECT array_agg(ln(1 + (v_chunks - n.found + 0.5) / (n.found + 0.5)) ORDER BY n.place)
      INTO v_idfs FROM unnest(v_found) WITH ORDINALITY AS n(found, place);
    v_query := ('{' || (
        SELECT string_agg(n.term || ':' || n.idf::real, ',')
          FROM unnest(v_terms, v_idfs) AS n(term, idf)) || '}/1000000000')::sparsevec;
    IF cardinality(p_chunks) <= (SELECT sum(n.found) FROM unnest(v_found) AS n(found)) THEN
        SELECT array_agg(r.chunk_id ORDER BY r.distance, r.chunk_id),
               array_agg(-r.distance ORDER BY r.distance, r.chunk_id) INTO ids, scores
          FROM (
            SELECT t.chunk_id, t.weights <#> v_query AS distance FROM rag_terms t
             WHERE t.chunk_id = ANY (p_chunks) AND t.tenant_id = v_tenant
               AND t.portfolio_id = p_portfolio AND t.weights <#> v_query < 0
             ORDER BY 2, 1 LIMIT p_limit) r;
        RETURN;
    END IF;
    v_wanted := 0;
    WHILE v_wanted < cardinality(v_terms)
          AND (v_candidates < p_limit OR v_candidates + v_found[v_wanted + 1] <= 1000) LOOP
        v_wanted := v_wanted + 1;
        v_candidates := v_candidates + v_found[v_wanted];
    END LOOP;
    WHILE v_wanted > v_essential LOOP
        v_essential := v_wanted;
        SELECT array_agg(r.chunk_id ORDER BY r.distance, r.chunk_id),
               array_agg(-r.distance ORDER BY r.distance, r.chunk_id) INTO ids, scores
          FROM (
            SELECT t.chunk_id, t.weights <#> v_query AS distance FROM rag_terms t
             WHERE t.terms && v_terms[1:v_essential] AND t.tenant_id = v_tenant
               AND t.portfolio_id = p_portfolio
               AND (p_chunks IS NULL OR t.chunk_id IN (SELECT unnest(p_chunks)))
             ORDER BY 2, 1 LIMIT p_limit) r;
        v_last := CASE WHEN cardinality(ids) >= p_limit THEN scores[p_limit] ELSE 0 END;
        v_wanted := cardinality(v_terms);
        v_others := 0;
        WHILE v_wanted > v_essential AND v_others + v_idfs[v_wanted] < v_last LOOP
            v_others := v_others + v_idfs[v_wanted];
            v_wanted := v_wanted - 1;
        END LOOP;
    END LOOP;
END $$;

CREATE FUNCTION search_keywords(
    p_tenant bigint, p_portfolio bigint, p_query text, p_language text, p_limit integer,
    p_filters jsonb
) RETURNS TABLE (
    chunk_id bigint, document_id bigint, title text, uri text, text text, start_char integer,
    end_char integer, language text, ordinal integer, tail text, score double precision
) LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_chunks bigint[];
    v_ids bigint[];
    v_scores double precision[];
BEGIN
    PERFORM set_config('app.tenant_id', p_tenant::text, true);
    PERFORM FROM portfolios p WHERE p.id = p_portfolio;
    IF NOT FOUND THEN
        RAISE no_data_found USING MESSAGE = 'portfolio';
    END IF;
    IF p_filters <> '{}' THEN
        v_chunks := ARRAY(SELECT c.id FROM rag_chunk c
                           WHERE c.document_id = ANY (matching_documents(p_portfolio, p_filters)));
    END IF;
    SELECT r.ids, r.scores INTO v_ids, v_scores
      FROM rank_chunks(p_portfolio, p_query, p_language, p_limit, v_chunks) r;
    RETURN QUERY SELECT * FROM chunk_hits(v_ids, v_scores);
END $$;
"""

SEARCH_KEYWORDS = "search_keywords(bigint, bigint, text, text, integer, jsonb)"
FORMER = (SEARCH_KEYWORDS, "any_word(regconfig, text)", "chunk_tsv(text, text, text)")
OURS = (
    "term_key(bigint, text, text)",
    "chunk_terms(bigint, text, text, text)",
    "term_weights(integer[], smallint[], integer, double precision)",
    "query_terms(bigint, text, text)",
    "rank_chunks(bigint, text, text, integer, bigint[])",
    SEARCH_KEYWORDS,
)


def upgrade() -> None:
    for script in (TABLES, TERMS, WEIGHTS):
        run_script(script)
    for table in ("rag_terms", "rag_frequencies"):
        run_script(POLICIES.format(table=table))
    for script in (FILL, INDEX, OWNER_READS):
        run_script(script)
    run_script("ALTER TABLE rag_chunk DROP COLUMN tsv")
    drop_functions(*FORMER)
    run_script(SEARCH)
    for_the_service(*OURS)


# What 0003 searched by, from the chunks that are here now.
FORMER_COLUMN = """
ALTER TABLE rag_chunk ADD COLUMN tsv tsvector;
DO $$
DECLARE
    v_tenant bigint;
BEGIN
    FOR v_tenant IN SELECT id FROM tenants LOOP
        PERFORM set_config('app.tenant_id', v_tenant::text, true);
        UPDATE rag_chunk c SET tsv = chunk_tsv(c.language, d.title, c.text)
          FROM documents d WHERE d.id = c.document_id;
    END LOOP;
    PERFORM set_config('app.tenant_id', '', true);
END $$;
ALTER TABLE rag_chunk ALTER COLUMN tsv SET NOT NULL;
"""


def downgrade() -> None:
    drop_functions(*reversed(OURS), "text_configuration(text)")
    run_script(import_module("migrations.versions.0003_functions").KEYWORD_SEARCH)
    for_the_service("text_configuration(text)", *FORMER)
    run_script(FORMER_COLUMN)
    run_script("DROP TABLE rag_terms, rag_frequencies")
    run_script("ALTER TABLE portfolios DROP COLUMN length_total, DROP COLUMN mean_length")
