"""scripts/setup, offline: a real virtual environment with a pip that only notes what it is asked.

Downloads that break off are those of the real pip, from an index on this machine.

The whole of it, with the real packages, is what `.ci/run` does on a new machine.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pip
import pytest

from tests.support.package_index import package_index, wheel

ROOT = Path(__file__).resolve().parents[2]
REAL_PYTHON = Path(
    sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}"
)

# Makes a virtual environment with the noting pip; anything else is the real interpreter's.
PYTHON = """#!/bin/sh
if [ "$1 $2" = "-m venv" ]; then
    "{real}" -m venv --without-pip "$3" || exit 1
    cp -Rp "{pip}" "$3"/lib/python*/site-packages/
    exit
fi
exec "{real}" "$@"
"""

PIP = """
import os, sys
from pathlib import Path

here = Path(os.environ["NOTES"])
with (here / "asked").open("a") as asked:
    asked.write(" ".join(sys.argv[1:]) + "\\n")
refused = (here / "refused").read_text().splitlines() if (here / "refused").exists() else []
if any(name in sys.argv for name in refused[1:]):
    sys.exit("ERROR: " + refused[0])
if "--target" in sys.argv:
    uv = Path(sys.argv[sys.argv.index("--target") + 1], "bin", "uv")
    uv.parent.mkdir(parents=True)
    uv.write_text('#!/bin/sh\\necho "uv $*" >> "$NOTES/asked"\\n')
    uv.chmod(0o755)
"""

# The project, as far as the real pip needs it.
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = """
import shutil

def build_editable(folder, config_settings=None, metadata_directory=None):
    return shutil.copy("citestream-1-py3-none-any.whl", folder).rpartition("/")[2]
"""

CPU = "torch==2.13.0+cpu"


class Clone:
    """A folder with the script, and a machine's programs as the test wants them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "a clone"
        self.notes = folder / "notes"
        self.programs = folder / "programs"
        for path in (self.folder / "scripts", self.notes, self.programs, folder / "pip"):
            path.mkdir(parents=True)
        for name in ("scripts/setup", "constraints.txt", "pyproject.toml"):
            shutil.copy(ROOT / name, self.folder / name)
        (folder / "pip/__init__.py").touch()
        (folder / "pip/__main__.py").write_text(PIP)
        self.python = PYTHON.format(real=REAL_PYTHON, pip=folder / "pip")
        self.program("python3", self.python)
        self.program("sleep", '#!/bin/sh\necho "$1" >>"$NOTES/paused"\n')
        self.program("uname", "#!/bin/sh\necho Linux\n")
        self.program("nvidia-smi", "#!/bin/sh\nexit 9\n")
        self.program("chromium", "#!/bin/sh\n")
        for name in ("nginx", "pgbouncer"):
            self.program(name, "#!/bin/sh\n")
        self.program("helm", "#!/bin/sh\necho v4.1.4\n")

    def program(self, name: str, text: str) -> None:
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def real_pip(self, *requires: str) -> None:
        """From now on packages are really installed: torch, and a project that requires these."""
        self.program("python3", PYTHON.format(real=REAL_PYTHON, pip=Path(pip.__file__).parent))
        (self.folder / "pyproject.toml").write_text(PYPROJECT)
        (self.folder / "backend.py").write_text(BACKEND)
        made = wheel("citestream", "1", *requires)
        (self.folder / "citestream-1-py3-none-any.whl").write_bytes(made)

    def alone(self) -> str:
        """A PATH of the test's programs and those that the script always calls; nothing else."""
        always = "sh dirname cat cksum touch mkdir rm mv cp flock id tail grep sed sleep kill"
        for name in always.split():
            program = shutil.which(name, path="/usr/bin:/bin")
            if program and not (self.programs / name).exists():
                (self.programs / name).symlink_to(program)
        return str(self.programs)

    def start(self, mode: str = "run", **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [str(self.folder / "scripts/setup"), mode],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                "PATH": f"{self.programs}:/usr/bin:/bin",
                "NOTES": str(self.notes),
                "PYTHON": "python3",
                **environment,
            },
        )

    def run(self, mode: str = "run", **environment: str) -> "subprocess.CompletedProcess[str]":
        process = self.start(mode, **environment)
        output, errors = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def refuse(self, *names: str, because: str = "No matching distribution found") -> None:
        (self.notes / "refused").write_text("\n".join([because, *names]))

    def paused(self) -> list[str]:
        """How long it was to wait; it does not."""
        notes = self.notes / "paused"
        return notes.read_text().split() if notes.exists() else []

    def asked(self) -> list[str]:
        """What pip was to install so far, one call each; forgotten afterwards."""
        notes = self.notes / "asked"
        lines = notes.read_text().splitlines() if notes.exists() else []
        notes.unlink(missing_ok=True)
        return [line.split()[-1] for line in lines if "install" in line]


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_a_first_and_a_second_call(clone: Clone) -> None:
    first = clone.run()
    assert (first.returncode, first.stderr) == (0, "")
    assert "about 430 MB" in first.stdout
    assert clone.asked() == [CPU, ".[encoder,embedded]"]
    second = clone.run(PYTHON="/nowhere/python")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert clone.asked() == []


def test_tests_need_more_and_bring_all(clone: Clone) -> None:
    clone.run("run")
    clone.run("test")
    assert clone.asked() == [CPU, ".[encoder,embedded]", CPU, ".[encoder,embedded,telemetry,dev]"]
    clone.run("run")
    assert clone.asked() == []


@pytest.mark.parametrize("name", ["constraints.txt", "pyproject.toml"])
def test_a_changed_requirement_is_installed(clone: Clone, name: str) -> None:
    clone.run()
    with (clone.folder / name).open("a") as file:
        file.write("# changed\n")
    clone.asked()
    clone.run()
    assert clone.asked() == [CPU, ".[encoder,embedded]"]


def test_a_moved_clone_gets_a_new_environment(clone: Clone) -> None:
    clone.run()
    clone.folder = clone.folder.rename(clone.folder.with_name("moved"))
    assert "Making .venv" in clone.run().stdout


def test_without_the_cpu_build_uv_finds_it(clone: Clone) -> None:
    clone.refuse(CPU)
    assert clone.run().returncode == 0
    assert clone.asked() == [CPU, "uv", "torch==2.13.0", ".[encoder,embedded]"]
    assert not (clone.folder / ".venv/uv").exists()


@pytest.mark.parametrize(("program", "text"), [("nvidia-smi", ""), ("uname", "echo Darwin")])
def test_other_machines_get_their_build(clone: Clone, program: str, text: str) -> None:
    clone.program(program, f"#!/bin/sh\n{text}\n")
    clone.run()
    assert clone.asked() == ["torch==2.13.0", ".[encoder,embedded]"]


def test_a_failed_install_is_quoted_and_completed_later(clone: Clone) -> None:
    clone.refuse(".[encoder,embedded]")
    failed = clone.run()
    assert failed.returncode == 1
    assert "The packages could not be installed" in failed.stderr
    assert "ERROR: No matching distribution found" in failed.stderr
    assert (failed.stdout.count("trying again"), clone.paused()) == (0, [])
    clone.refuse()
    assert clone.run().returncode == 0
    assert clone.asked()[-1] == ".[encoder,embedded]"


def test_a_half_installed_package_is_forgotten(clone: Clone) -> None:
    clone.run()
    (clone.folder / ".venv/setup.done").unlink()
    site = next((clone.folder / ".venv").glob("lib/python*/site-packages"))
    records = {
        "whole": "whole.py,sha256=x,1\nwhole-1.dist-info/RECORD,,\n",
        "missing": "gone.py,sha256=x,1\n",
        "cut": "whole.py,sha256=x,100\n",
    }
    (site / "whole.py").write_text("1")
    for name, record in records.items():
        (site / f"{name}-1.dist-info").mkdir()
        (site / f"{name}-1.dist-info/RECORD").write_text(record)
    (site / "unrecorded-1.dist-info").mkdir()
    assert clone.run().returncode == 0
    assert [path.name for path in site.glob("*.dist-info")] == ["whole-1.dist-info"]


def test_two_at_once_install_once(clone: Clone) -> None:
    processes = [clone.start(), clone.start()]
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [0, 0]
    assert clone.asked() == [CPU, ".[encoder,embedded]"]


@pytest.mark.parametrize(
    ("python", "sentence"),
    [
        (
            'case "$2" in *print*) echo 3.9 ;; *version_info*) exit 1 ;; esac',
            "needs Python 3.11 or newer (python3 is 3.9)",
        ),
        (
            'case "$2" in *print*) echo 3.11 ;; *ensurepip*) exit 1 ;; esac',
            "apt install python3.11-venv",
        ),
        ("exit 127", "needs Python 3.11 or newer (none was found)"),
    ],
)
def test_an_unfit_python_is_one_sentence(clone: Clone, python: str, sentence: str) -> None:
    clone.program("python3", f"#!/bin/sh\n{python}\n")
    result = clone.run()
    assert result.returncode == 1
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_folder_that_cannot_be_written_is_one_sentence(clone: Clone) -> None:
    (clone.folder / ".venv").write_text("in the way")
    result = clone.run()
    assert result.returncode == 1
    assert "cannot be written" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_missing_browser_is_one_sentence(clone: Clone) -> None:
    (clone.programs / "chromium").unlink()
    result = clone.run("test", PATH=clone.alone())
    assert result.returncode == 0
    assert "The browser test needs Chromium or Chrome" in result.stderr


def with_real_pip(clone: Clone, breaks: dict[str, int]) -> "subprocess.CompletedProcess[str]":
    clone.real_pip("half", "whole")
    packages = {"torch": CPU.partition("==")[2], "half": "1", "whole": "1"}
    with package_index(packages, breaks) as address:
        return clone.run(
            PIP_INDEX_URL=f"{address}/simple/",
            PIP_CACHE_DIR=str(clone.notes / "cache"),
            PIP_CONFIG_FILE=os.devnull,
        )


def test_a_download_that_breaks_off_is_begun_anew(clone: Clone) -> None:
    result = with_real_pip(clone, {"half": 1})
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("That failed; trying again in 3 seconds\n") == 1
    assert clone.paused() == ["3"]
    site = next((clone.folder / ".venv").glob("lib/python*/site-packages"))
    assert {"torch.py", "half.py", "whole.py"} <= {path.name for path in site.iterdir()}


def test_a_download_that_always_breaks_off_is_told_with_the_reason(clone: Clone) -> None:
    clone.program("nvidia-smi", "#!/bin/sh\n")
    result = with_real_pip(clone, {"torch": sys.maxsize})
    assert result.returncode == 1
    assert clone.paused() == ["3", "10"]
    sentence, *log = result.stderr.splitlines()
    assert sentence.startswith("torch could not be installed")
    assert "Connection broken: " in log[-1]
    assert not any("File" in line for line in log)
    assert not (clone.folder / ".venv/setup.done").exists()


def test_the_reason_is_told_whatever_stands_before_it(clone: Clone) -> None:
    """importlib's own frames are without the line of source that others have."""
    program = "import importlib\n\nimportlib.import_module('no.such')\n"
    (clone.folder.parent / "pip/__main__.py").write_text(program)
    result = clone.run()
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].strip() == "ModuleNotFoundError: No module named 'no'"
    assert "frozen" not in result.stderr


def test_helm_is_downloaded_again(clone: Clone) -> None:
    clone.program("helm", "#!/bin/sh\n")
    clone.program("uname", '#!/bin/sh\n[ "$1" = -s ] && echo Linux || echo Linux x86_64\n')
    clone.refuse("download", because="Connection broken")
    result = clone.run("test")
    assert result.returncode == 0
    assert "The tests of the Helm chart need Helm 4" in result.stderr
    assert clone.paused() == ["3", "10"]


def with_apt(clone: Clone, installs: str) -> None:
    """Root of a Debian without a browser, where this is what installing does."""
    (clone.programs / "chromium").unlink()
    clone.program("id", "#!/bin/sh\necho 0\n")
    noted = '#!/bin/sh\necho "$1 $4" >>"$NOTES/apt"\n'
    clone.program("apt-get", f'{noted}[ "$1" = update ] || {installs}\n')


def test_debian_packages_are_downloaded_again_with_new_lists(clone: Clone) -> None:
    with_apt(clone, '! mkdir "$NOTES/failed" 2>/dev/null || exit 100')
    result = clone.run("test", PATH=clone.alone())
    assert (result.returncode, result.stderr) == (0, "")
    assert clone.paused() == ["3"]
    asked = (clone.notes / "apt").read_text().splitlines()
    assert asked == ["update ", "install chromium"] * 2


def test_what_debian_does_not_have_is_asked_for_once_each_time(clone: Clone) -> None:
    with_apt(clone, '{ echo "E: Unable to locate package chromium" >&2; exit 100; }')
    for _ in range(2):
        result = clone.run("test", PATH=clone.alone())
        assert result.returncode == 0
        assert "The browser test needs Chromium or Chrome" in result.stderr
    assert clone.paused() == []
    assert len((clone.notes / "apt").read_text().splitlines()) == 4


def test_what_could_not_be_had_is_tried_once_by_those_who_come_later(clone: Clone) -> None:
    with_apt(clone, "exit 100")
    for paused in (["3", "10"], ["3", "10"]):
        assert clone.run("test", PATH=clone.alone()).returncode == 0
        assert clone.paused() == paused
