"""The chart as the real Helm renders it."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parents[2] / "deploy/helm/citestream"
RELEASE = "site"
NAME = f"{RELEASE}-citestream"

Manifest = dict[str, Any]


def program() -> str:
    """Where Helm is: named, installed, or what scripts/setup has put beside the interpreter."""
    beside = str(Path(sys.prefix, "helm", "helm"))
    found = os.environ.get("HELM_PROGRAM") or shutil.which(beside) or shutil.which("helm")
    assert found, "No Helm 4: scripts/setup test installs it, or set HELM_PROGRAM to its path."
    return found


def helm(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([program(), *arguments], capture_output=True, text=True, check=False)


@cache
def rendered(*arguments: str) -> dict[tuple[str, str], Manifest]:
    """What a release named `site` consists of, by kind and by name without the release's."""
    done = helm("template", RELEASE, str(CHART), "--namespace", "here", *arguments)
    assert done.returncode == 0, done.stderr
    manifests = [each for each in yaml.load_all(done.stdout, yaml.CSafeLoader) if each]
    named = [(each["kind"], _short(each["metadata"]["name"])) for each in manifests]
    assert not [name for name, count in Counter(named).items() if count > 1]
    return dict(zip(named, manifests, strict=True))


def pods(manifests: dict[tuple[str, str], Manifest]) -> dict[str, Manifest]:
    """The pods' templates, by the part they are."""
    return {
        each["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]: each["spec"][
            "template"
        ]
        for each in manifests.values()
        if "template" in each.get("spec", {})
    }


def container(pod: Manifest) -> Manifest:
    [only] = pod["spec"]["containers"]
    found: Manifest = only
    return found


def secrets_of(pod: Manifest) -> set[str]:
    """The files under /run/secrets that the pod's containers have."""
    return {
        item["path"]
        for volume in pod["spec"]["volumes"]
        for item in volume.get("secret", {}).get("items", ())
    }


def _short(name: str) -> str:
    return name.removeprefix(NAME).removeprefix("-")
