"""The promises that users must be able to trust, kept for minutes on real servers.

`make soak` runs every row, `make soak ROWS="17"` some of them. Each row starts servers of its own
(Postgres, Valkey, encoders, API processes) on this machine's loopback, uses them hard while
something goes wrong or changes, and counts what its promise says. The table at the end has the
figures beside their limits; the exit status is 1 where a promise is broken.
"""

import argparse
import asyncio
import json
import pkgutil
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from tests.soak import rows as rows_package
from tests.soak.performing import perform_all
from tests.soak.report import fields, machine, summary, table
from tests.soak.row import Result, Row


def all_rows() -> dict[int, Row]:
    """The `ROW` of every module in `tests/soak/rows`, by number."""
    found: dict[int, Row] = {}
    for module in pkgutil.iter_modules(rows_package.__path__):
        row: Row = import_module(f"{rows_package.__name__}.{module.name}").ROW
        if row.number in found:
            raise SystemExit(f"Row {row.number} is declared twice, the second in {module.name}.")
        found[row.number] = row
    return dict(sorted(found.items()))


def parser(rows: dict[int, Row]) -> argparse.ArgumentParser:
    listed = "\n".join(f"  {n:>3}  {row.promise} ({row.seconds:g} s)" for n, row in rows.items())
    made = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description=__doc__,
        epilog=f"rows, and how long each takes unless --seconds says otherwise:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("rows", nargs="*", type=int, metavar="ROW", help="default: all of them")
    made.add_argument(
        "--seconds", type=float, help="how long each row goes on; what it has begun is completed"
    )
    made.add_argument("--seed", type=int, default=0, help="of what is left to chance (0)")
    made.add_argument("--output", type=Path, help="a file for the figures, as JSON")
    return made


def main(arguments: Sequence[str], rows: dict[int, Row]) -> int:
    """Run the rows that are named; the exit status."""
    options = parser(rows)
    chosen = options.parse_args(arguments)
    if unknown := [each for each in chosen.rows if each not in rows]:
        known = ", ".join(map(str, rows))
        options.error(f"there is no row {unknown[0]} (yet); known are {known}")
    if chosen.seconds is not None and chosen.seconds <= 0:
        options.error("--seconds must be more than 0")
    if chosen.output is not None and not chosen.output.resolve().parent.is_dir():
        options.error(f"--output: there is no folder {chosen.output.parent}")
    wanted = [rows[each] for each in dict.fromkeys(chosen.rows or rows)]
    results: list[Result] = []
    interrupted = False
    try:
        asyncio.run(perform_all(wanted, chosen.seconds, chosen.seed, _say, results))
    except KeyboardInterrupt:
        interrupted = True
    _say(f"\n{table(results)}\n\n{summary(results)}\n\n{machine()}, seed {chosen.seed}")
    if chosen.output is not None:
        chosen.output.write_text(json.dumps(fields(results, chosen.seed), indent=2) + "\n")
    if interrupted:
        _say("Interrupted: rows that are not in the table were not completed.")
        return 130
    return 0 if all(each.kept for each in results) else 1


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 — a program of its own


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], all_rows()))
