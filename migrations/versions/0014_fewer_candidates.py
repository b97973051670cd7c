"""Searches that do less: candidates that cannot win are not scored, nothing is planned twice."""

import re
from importlib import import_module
from types import ModuleType

from migrations.script import run_script

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# The best by their scores, of the chunks with these terms.
LOOK = """
        SELECT array_agg(r.chunk_id ORDER BY r.distance, r.chunk_id),
               array_agg(-r.distance ORDER BY r.distance, r.chunk_id) INTO ids, scores
          FROM (
            SELECT t.chunk_id, t.weights <#> v_query AS distance FROM rag_terms t
             WHERE {terms} AND t.tenant_id = v_tenant
               AND t.portfolio_id = p_portfolio
               AND (p_chunks IS NULL OR t.chunk_id IN (SELECT unnest(p_chunks)))
             ORDER BY 2, 1 LIMIT p_limit) r;"""

# As 0007's, and as exact. The costly case are words of which even the rarest is in more than
# 1,000 chunks. Then those chunks are scored first that hold all of the rarest words: as many words
# as leave enough chunks, by chance and then in fact. Else, as before, those with one of the rarest.
#
# The last of their places is a bound. A chunk's score is below the sum of its words' idf, so who
# lacks words that are worth more than the whole question less that bound has no place: a chunk
# with a place holds one of each such group of words. Of these groups three serve: of words from
# the rarest on, from the next, and in a circle from the last but one of those in fewer than half
# of the chunks. With five words in a quarter of the chunks each, 1,700 of 6,900 chunks are left
# to score. What is further than the bound is not sorted, which takes as long as scoring it.
RANK_CHUNKS = """
CREATE OR REPLACE FUNCTION rank_chunks(
    p_portfolio bigint, p_query text, p_language text, p_limit integer, p_chunks bigint[],
    OUT ids bigint[], OUT scores double precision[]
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    v_tenant bigint := NULLIF(current_setting('app.tenant_id', true), '')::bigint;
    v_chunks bigint;
    v_terms integer[];
    v_found bigint[];
    v_idfs double precision[];
    v_query sparsevec;
    v_total double precision;
    v_held bigint;
    v_count integer;
    v_rarest integer := 0;
    v_expected double precision;
    v_farthest double precision := 0;
    v_sum double precision := 0;
    v_spare double precision;
    v_from integer;
    v_to integer;
    v_group integer[];
    v_group2 integer[];
    v_group3 integer[];
BEGIN
    SELECT p.chunk_count INTO v_chunks FROM portfolios p WHERE p.id = p_portfolio;
    SELECT array_agg(n.term ORDER BY n.found, n.term), array_agg(n.found ORDER BY n.found, n.term),
           array_agg(n.idf ORDER BY n.found, n.term), sum(n.idf), sum(n.found), count(*),
           ('{' || string_agg(n.term || ':' || n.idf::real, ',') || '}/1000000000')::sparsevec
      INTO v_terms, v_found, v_idfs, v_total, v_held, v_count, v_query
      FROM (
        SELECT t.term, t.found,
               ln(1 + (v_chunks - t.found + 0.5) / (t.found + 0.5))::double precision AS idf
          FROM (
            SELECT w.term, max(w.found) AS found
              FROM (
                SELECT q.term, sum(f.chunks) OVER (PARTITION BY q.place) AS found
                  FROM query_terms(p_portfolio, p_query, p_language) q
                  JOIN rag_frequencies f ON f.portfolio_id = p_portfolio AND f.term = q.term) w
             GROUP BY w.term) t) n;
    IF v_count = 0 THEN
        RETURN;
    END IF;
    IF cardinality(p_chunks) <= v_held THEN
        SELECT array_agg(r.chunk_id ORDER BY r.distance, r.chunk_id),
               array_agg(-r.distance ORDER BY r.distance, r.chunk_id) INTO ids, scores
          FROM (
            SELECT t.chunk_id, t.weights <#> v_query AS distance FROM rag_terms t
             WHERE t.chunk_id = ANY (p_chunks) AND t.tenant_id = v_tenant
               AND t.portfolio_id = p_portfolio AND t.weights <#> v_query < 0
             ORDER BY 2, 1 LIMIT p_limit) r;
        RETURN;
    END IF;
    IF v_found[1] > 1000 THEN
        v_expected := least(v_chunks, cardinality(p_chunks));
        WHILE v_rarest < v_count AND v_expected * v_found[v_rarest + 1] / v_chunks >= p_limit LOOP
            v_rarest := v_rarest + 1;
            v_expected := v_expected * v_found[v_rarest] / v_chunks;
        END LOOP;
        WHILE v_rarest > 1 AND v_farthest = 0 AND 8 * v_expected <= v_held LOOP
            v_group := v_terms[1:v_rarest];
            -- look: t.terms @> v_group
            IF cardinality(ids) >= p_limit THEN
                v_farthest := -scores[p_limit];
            END IF;
            v_expected := v_expected * v_chunks / v_found[v_rarest];
            v_rarest := v_rarest - 1;
        END LOOP;
    END IF;
    IF v_farthest = 0 THEN
        v_rarest := 0;
        v_held := 0;
        WHILE v_rarest < v_count
              AND (v_held < p_limit OR v_held + v_found[v_rarest + 1] <= 1000) LOOP
            v_rarest := v_rarest + 1;
            v_held := v_held + v_found[v_rarest];
            v_sum := v_sum + v_idfs[v_rarest];
        END LOOP;
        v_group := v_terms[1:v_rarest];
        -- look: t.terms && v_group
        IF v_rarest = v_count THEN
            RETURN;
        ELSIF cardinality(ids) >= p_limit THEN
            v_farthest := -scores[p_limit];
            IF v_total - v_sum < -v_farthest THEN
                RETURN;
            END IF;
        ELSE
            v_group := v_terms;
            -- look: t.terms && v_group
            RETURN;
        END IF;
    END IF;
    v_spare := v_total + v_farthest;
    v_rarest := 0;
    v_sum := 0;
    WHILE v_sum <= v_spare OR v_rarest < v_count AND 2 * v_found[v_rarest + 1] <= v_chunks LOOP
        v_rarest := v_rarest + 1;
        v_sum := v_sum + v_idfs[v_rarest];
    END LOOP;
    v_terms := v_terms[1:v_rarest] || v_terms[1:v_rarest];
    v_idfs := v_idfs[1:v_rarest] || v_idfs[1:v_rarest];
    FOREACH v_from IN ARRAY ARRAY[1, least(2, v_rarest), greatest(1, v_rarest - 1)] LOOP
        v_to := v_from;
        v_sum := v_idfs[v_to];
        v_held := v_found[v_to];
        WHILE v_sum <= v_spare LOOP
            v_to := v_to + 1;
            v_sum := v_sum + v_idfs[v_to];
            v_held := v_held + coalesce(v_found[v_to], 0);
        END LOOP;
        v_group := v_group2;
        v_group2 := v_group3;
        v_group3 := v_terms[v_from:v_to];
        IF v_from = 1 AND v_held <= 1000 THEN
            v_group := v_group3;
            v_group2 := v_group3;
            EXIT;
        END IF;
    END LOOP;
    -- look: t.terms && v_group AND t.terms && v_group2 AND t.terms && v_group3 AND {nearer}
END $$;
"""

# Most portfolios have no pairs, which takes 0.02 ms to see, and 0.4 ms to plan around. Where
# there are some, the plan is the portfolio's own, as it was.
SEARCH_PAIRS = """
CREATE OR REPLACE FUNCTION search_pairs(
    p_tenant bigint, p_portfolio bigint, p_encoder integer, p_query halfvec, p_limit integer,
    p_filters jsonb
) RETURNS TABLE (
    chunk_id bigint, document_id bigint, title text, uri text, text text, start_char integer,
    end_char integer, language text, ordinal integer, tail text, score double precision
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('app.tenant_id', p_tenant::text, true);
    IF NOT EXISTS (SELECT FROM rag_chunk c
                    WHERE c.portfolio_id = p_portfolio AND c.question IS NOT NULL) THEN
        RETURN;
    END IF;
    PERFORM set_config('plan_cache_mode', 'force_custom_plan', true);
    RETURN QUERY
        WITH near AS MATERIALIZED (
            SELECT c.id, 1 - (e.embedding <=> p_query) AS score
              FROM rag_chunk c
              JOIN portfolios p ON p.id = c.portfolio_id AND p.encoder_id = p_encoder
              JOIN rag_embedding e ON e.portfolio_id = p_portfolio AND e.chunk_id = c.id
               AND e.encoder_id = p_encoder
             WHERE c.portfolio_id = p_portfolio AND c.question IS NOT NULL
               AND (p_filters = '{}'
                    OR c.document_id = ANY (matching_documents(p_portfolio, p_filters)))
             ORDER BY 2 DESC, 1 LIMIT p_limit)
        SELECT h.*
          FROM (SELECT array_agg(n.id ORDER BY n.score DESC, n.id) AS ids,
                       array_agg(n.score ORDER BY n.score DESC, n.id) AS scores FROM near n) found,
               chunk_hits(found.ids, found.scores) h;
END $$;
"""

# Two thirds of their time went into plans that are the same each time: by the tables' keys.
GRAPH = (
    "graph_neighbourhood(bigint, bigint, text[], jsonb)",
    "graph_hits(bigint, bigint[], double precision[])",
)
PLANNED_ONCE = """
ALTER FUNCTION {function} SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION {function} SET enable_seqscan = off;
"""
PLANNED_EACH_TIME = """
ALTER FUNCTION {function} SET plan_cache_mode = force_custom_plan;
ALTER FUNCTION {function} RESET enable_seqscan;
"""


def upgrade() -> None:
    run_script(rank_chunks())
    run_script(SEARCH_PAIRS)
    for function in GRAPH:
        run_script(PLANNED_ONCE.format(function=function))


def downgrade() -> None:
    for function in GRAPH:
        run_script(PLANNED_EACH_TIME.format(function=function))
    run_script(_replacing(_former("0010_persona_and_domain").SEARCH_PAIRS))
    run_script(_replacing(_former("0007_keywords").SEARCH))


def rank_chunks() -> str:
    """The function, with what its comments say that it looks for in their place."""
    script = RANK_CHUNKS.replace("{nearer}", "t.weights <#> v_query <= v_farthest")
    return re.sub(r"-- look: (.*)", lambda found: LOOK.format(terms=found[1]).strip(), script)


def _former(name: str) -> ModuleType:
    return import_module(f"migrations.versions.{name}")


def _replacing(script: str) -> str:
    """So that the functions keep their owner and who may call them."""
    return script.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
