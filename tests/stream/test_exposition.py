"""The dashboard and the alerts name what a service that has answered questions exposes, and the
documentation names all of it."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from tests.support.live import Live, live_service, unique
from tests.support.scraped import Samples, scrape
from tests.support.vendors import Script, VendorServer

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy/grafana/citestream.json"
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
PROMETHEUS = ROOT / "deploy/prometheus/prometheus.yml"
DOCUMENTED = ROOT / "docs/measuring.md"
NAME = re.compile(r"\b(?:citestream|process)_[a-z_]+\b")
LABEL = re.compile(r"(\w+)(?:=~?|!=|!~)\"")
BY = re.compile(r"\bby \(([\w, ]+)\)")
# What a series says of itself: histograms' and summaries' beside the metric's own name.
PARTS = re.compile(r"_(bucket|count|sum)$")
# Of a scrape, not of the service.
PROMETHEUS_LABELS = {"job", "instance"}


@pytest.fixture(scope="module")
async def exposed(connections: dict[str, Any]) -> AsyncIterator[dict[str, set[str]]]:
    """The names that there are, each with its labels', after an answer, the same from the cache
    and a failure."""
    async with VendorServer(Script(tokens=["Ana", " Ruiz [1]."])) as vendor:
        models = {"openai_api_key": "test", "openai_base_url": vendor.openai_url}
        prices = {"gpt-4o-mini": (0.15, 0.6)}
        async with live_service(**connections, **models, prices=prices) as live:
            await ask(live, vendor)
            text = (await live.http.get("/metrics")).text
            found = await scrape(live.http)
    check_tokens(found)
    labels: dict[str, set[str]] = {name: set() for name in found}
    for name, written in re.findall(r"^(\w+)\{(.*)\} ", text, re.MULTILINE):
        labels[name] |= set(re.findall(r"(\w+)=\"", written))
    yield labels


async def ask(live: Live, vendor: VendorServer) -> None:
    portfolio = await live.portfolio(unique("docs"), Atlas="Atlas was finished by Ana Ruiz.")
    agent = await live.agent(unique("agent"), portfolio, provider="openai")
    question = f"Who finished Atlas {unique('this')}?"
    await live.stream(agent, question)
    assert (await live.ask(agent, question))["cached"]
    vendor.script = Script(fault="error")
    await live.http.post(f"/api/agents/{agent}/chat", json={"message": question, "cache": "off"})
    live.services.monitor.record("pages", 1, "pages")


def check_tokens(found: dict[str, Samples]) -> None:
    """Those that the vendor has counted, of the one answer that it has given."""
    tokens = {kind: count for (_, kind, _), count in found["citestream_tokens_total"].items()}
    assert tokens == {"prompt": 12, "completion": 3}
    (cost,) = found["citestream_cost_total"].values()
    assert cost == pytest.approx((12 * 0.15 + 3 * 0.6) / 1e6)


def dashboard_expressions() -> list[str]:
    board = orjson.loads(DASHBOARD.read_bytes())
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]


def alert_expressions() -> list[str]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("expression", [*dashboard_expressions(), *alert_expressions()])
def test_what_is_looked_at_is_exposed(expression: str, exposed: dict[str, set[str]]) -> None:
    names = set(NAME.findall(expression))
    assert names or expression.startswith("up{")
    assert names <= set(exposed)
    known = {label for name in names for label in exposed[name]} | PROMETHEUS_LABELS
    asked = {label for group in BY.findall(expression) for label in group.split(", ")}
    assert {*LABEL.findall(expression), *asked} <= known


def test_all_that_is_exposed_is_documented_and_the_other_way_round(
    exposed: dict[str, set[str]],
) -> None:
    ours = {name for name in exposed if name.startswith("citestream_")}
    documented: dict[str, set[str]] = {}
    for name, labels in re.findall(
        r"`(citestream_[a-z_]+)(?:\{([\w, ]+)\})?`", DOCUMENTED.read_text()
    ):
        documented.setdefault(name, set()).update(filter(None, labels.split(",")))
    assert {PARTS.sub("", name) for name in ours} == set(documented)
    for name in ours:
        assert documented[PARTS.sub("", name)] == exposed[name] - {"le"}, name


def test_everything_that_is_exposed_is_looked_at_or_a_detail(exposed: dict[str, set[str]]) -> None:
    looked_at = {n for each in dashboard_expressions() for n in NAME.findall(each)}
    ours = {PARTS.sub("", name) for name in exposed if name.startswith("citestream_")}
    assert ours - {PARTS.sub("", name) for name in looked_at} == {"citestream_measured"}


def test_panels_and_alerts_are_whole() -> None:
    board = orjson.loads(DASHBOARD.read_bytes())
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    for panel in board["panels"]:
        assert panel["type"] == "row" or panel["targets"], panel["title"]
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    for rule in groups[0]["rules"]:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]
    configured = yaml.safe_load(PROMETHEUS.read_text())
    assert configured["rule_files"] == [ALERTS.name]
    assert configured["scrape_configs"][0]["job_name"] == "citestream"
