"""Inside a replica: seconds to the first token, asked by turns directly and through nginx."""

import http.client
import json
import statistics
import sys
import time

PAIRS = 60


def milliseconds(host: str, port: int, number: int) -> float:
    body = json.dumps({"message": f"What is the Atlas project? {number}", "cache": "off"})
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {sys.argv[1]}"}
    connection = http.client.HTTPConnection(host, port, timeout=30)
    began = time.perf_counter()
    connection.request("POST", f"/api/agents/{sys.argv[2]}/chat/stream", body, headers)
    response = connection.getresponse()
    while b'"token"' not in response.readline():
        pass
    seconds = time.perf_counter() - began
    response.read()
    return seconds * 1000


def main() -> None:
    rounds = []
    for number in range(PAIRS):
        ways = [("127.0.0.1", 8000), ("nginx", 8080)]
        took = {way: milliseconds(*way, number) for way in (ways if number % 2 else ways[::-1])}
        rounds.append((took[ways[0]], took[ways[1]]))
    # The first quartile of each way: the others say how busy the machine is.
    direct, through = (statistics.quantiles(each, n=4)[0] for each in zip(*rounds, strict=True))
    told = {
        "pairs": PAIRS,
        "direct_ms": round(direct, 1),
        "nginx_ms": round(through, 1),
        "added_ms": round(through - direct, 1),
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
