"""The soak's row 22 at a small scale: requests that schemathesis makes, with all of its checks.

`test_generated_requests` stays beside it: it sends what schemathesis cannot over its HTTP library
(lone surrogates, broken JSON, wrong lengths, bytes that are no text), looks at every event of a
stream, and holds answers to having no field too many. This one knows what states calls lead to,
and tries what lies at the edges of every schema.
"""

import random
import shutil
import tempfile
from pathlib import Path

from tests.soak.deployment import deployment
from tests.soak.row import Stage
from tests.soak.rows.row_22 import ROW, scenario
from tests.soak.unhurried import UNHURRIED


async def test_a_few_hundred_requests_find_no_fault() -> None:
    folder = Path(tempfile.mkdtemp(prefix="citestream-row-22-"))
    folder.chmod(0o711)  # where we are root, Postgres runs as a user who must get through
    stage = Stage(1.0, folder, random.Random(1), lambda _: None)
    try:
        async with deployment(stage, replicas=1, **UNHURRIED) as running:
            figures = scenario(stage, running, 4, "fuzzing,stateful")
            found = {name: value async for name, value in figures}
        broken = {name for name, limit in ROW.limits.items() if not limit.allows(found[name])}
        assert broken == set(), "\n".join([*stage.notes, (folder / "schemathesis.log").read_text()])
    finally:
        shutil.rmtree(folder)
