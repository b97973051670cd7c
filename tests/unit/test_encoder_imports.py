"""What an API process must never carry: torch alone is 300 MB."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module",
    ["app.encoder", "app.encoder.client", "app.encoder.rerank_client", "app.encoder.server"],
)
def test_only_the_model_itself_imports_the_heavy_libraries(module: str) -> None:
    heavy = "{'torch', 'transformers', 'sentence_transformers', 'numpy', 'sklearn'}"
    code = f"import {module}, sys; print(sorted({heavy} & sys.modules.keys()))"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout == "[]\n"
