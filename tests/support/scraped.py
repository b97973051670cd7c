"""What `/metrics` says, as Prometheus reads it."""

import httpx2
from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, ...], float]


async def scrape(client: httpx2.AsyncClient) -> dict[str, Samples]:
    """The values of each metric by its labels' values, in the order of the labels' names."""
    response = await client.get("/metrics", headers={"Host": "pod.internal"})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    return samples(response.text)


def samples(rendered: str) -> dict[str, Samples]:
    """The same of a text."""
    found: dict[str, Samples] = {}
    for family in text_string_to_metric_families(rendered):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found
