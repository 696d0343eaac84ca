"""`run.py`: a checkout that was moved, copied, interrupted or left without its Python is set up again."""

import ast
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
OLD_PYTHONS = sorted(
    python
    for minor in range(6, 11)
    for python in (*PYENV.glob(f"3.{minor}.*/bin/python"), Path(f"/usr/bin/python3.{minor}"))
    if python.exists()
)

PROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "technopay"
version = "0.1.0"
"""
BACKEND = '''\
"""Builds an editable wheel from nothing but the standard library; waits while there is a file `hold`."""

import pathlib
import time
import zipfile

HERE = pathlib.Path(__file__).parent
METADATA = "Metadata-Version: 2.1\\nName: technopay\\nVersion: 0.1.0\\n"
METADATA += "Provides-Extra: dev\\nProvides-Extra: load\\n"


def build_editable(folder, config_settings=None, metadata_directory=None):
    with open(HERE / "builds", "a") as builds:
        builds.write("x")
    while (HERE / "hold").exists():
        time.sleep(0.01)
    name = "technopay-0.1.0-py3-none-any.whl"
    files = {
        "technopay.pth": str(HERE),
        "technopay-0.1.0.dist-info/METADATA": METADATA,
        "technopay-0.1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    with zipfile.ZipFile(pathlib.Path(folder) / name, "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)
        record = "".join(f"{file},,\\n" for file in [*files, "technopay-0.1.0.dist-info/RECORD"])
        wheel.writestr("technopay-0.1.0.dist-info/RECORD", record)
    return name


build_wheel = build_editable
'''
VENV = '''\
"""Stands in for `python -m venv --clear`, which takes seconds: copies an environment."""

import pathlib
import shutil
import sys

option, target = sys.argv[1:]
assert option == "--clear"
shutil.rmtree(target, ignore_errors=True)
shutil.copytree(pathlib.Path(__file__).parent / "environment", target, symlinks=True)
'''
COMMAND = "import sys\nprint(__file__, *sys.argv[1:])\n"


def make_checkout(folder: Path) -> Path:
    """Make a project of the same shape as this one that is installed without a registry."""
    (folder / "technopay/cli").mkdir(parents=True)
    shutil.copy(ROOT / "run.py", folder)
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "backend.py").write_text(BACKEND)
    (folder / "technopay/cli/__main__.py").write_text(COMMAND)
    return folder


def start(folder: Path, *words: str, python: str = sys.executable) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder.parent / "quick"), "PYTHONIOENCODING": "ascii"}
    return subprocess.Popen(
        [python, str(folder / "run.py"), *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True,
    )  # fmt: skip


def run(folder: Path, *words: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    with start(folder, *words, python=python) as process:
        out, errors = process.communicate(timeout=100)
    return subprocess.CompletedProcess(words, process.returncode, out, errors)


@contextmanager
def held(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A set-up in the middle of its installation; at the end, it continues."""
    builds, hold = folder / "builds", folder / "hold"
    before = len(builds.read_text())
    hold.touch()
    with start(folder, "demo") as process:
        try:
            give_up_at = time.monotonic() + 60
            while len(builds.read_text()) == before:
                assert time.monotonic() < give_up_at
                time.sleep(0.01)
            yield process
        finally:
            hold.unlink()


def assert_runs_its_own(folder: Path, *, sets_up: bool) -> None:
    done = run(folder, "demo", "--once")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{folder}/technopay/cli/__main__.py demo --once\n"
    assert ("installing" in done.stderr) == sets_up, done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout that is set up; tests work on copies of it, as `cp -a` makes them."""
    folder = make_checkout(tmp_path_factory.mktemp("run") / "original")
    assert_runs_its_own(folder, sets_up=True)
    return folder


@pytest.fixture
def copy(installed: Path, tmp_path: Path) -> Path:
    subprocess.run(["cp", "-a", installed, tmp_path / "copy"], check=True)
    (tmp_path / "quick").mkdir()
    (tmp_path / "quick/venv.py").write_text(VENV)
    (tmp_path / "quick/environment").symlink_to(installed / ".venv")
    return tmp_path / "copy"


def pretend_here(folder: Path, original: Path) -> None:
    """Mark a copy as set up, without the cost of a set-up: for tests that break it afterwards."""
    stamp = folder / ".venv/technopay-installed"
    stamp.write_text(stamp.read_text().replace(str(original), str(folder)))


def test_a_second_run_installs_nothing_and_a_copy_runs_its_own_code(installed: Path, copy: Path) -> None:
    assert_runs_its_own(installed, sets_up=False)
    assert_runs_its_own(copy, sets_up=True)
    assert_runs_its_own(copy, sets_up=False)
    assert_runs_its_own(installed, sets_up=False)


def test_a_moved_checkout_is_set_up_again_though_another_one_is_now_in_its_old_place(
    installed: Path, copy: Path, tmp_path: Path
) -> None:
    pretend_here(copy, installed)
    moved = copy.rename(tmp_path / "moved")
    assert_runs_its_own(moved, sets_up=True)


@pytest.mark.parametrize("python", ["/nowhere/bin/python3.11", "/bin/false"])
def test_an_environment_whose_python_is_gone_or_is_another_one_is_made_again(
    installed: Path, copy: Path, python: str
) -> None:
    pretend_here(copy, installed)
    for name in ("python", "python3", f"python3.{sys.version_info.minor}"):
        (copy / ".venv/bin" / name).unlink()
    (copy / ".venv/bin/python").symlink_to(python)
    assert_runs_its_own(copy, sets_up=True)


def test_a_changed_project_is_installed_into_the_environment_that_there_is(installed: Path, copy: Path) -> None:
    pretend_here(copy, installed)
    kept = copy / ".venv/kept"
    kept.touch()
    (copy / "pyproject.toml").write_text(PROJECT.replace("0.1.0", "0.2.0"))
    (copy / "backend.py").write_text(BACKEND.replace("0.1.0", "0.2.0"))
    assert_runs_its_own(copy, sets_up=True)
    assert_runs_its_own(copy, sets_up=False)
    assert kept.exists()


def test_a_set_up_that_was_interrupted_starts_again_from_nothing(installed: Path, copy: Path) -> None:
    pretend_here(copy, installed)
    (copy / "pyproject.toml").write_text(PROJECT + "# changed\n")
    broken = copy / ".venv/bin/pip"
    with held(copy) as process:
        os.killpg(process.pid, signal.SIGKILL)
        broken.write_text("half written")
    assert_runs_its_own(copy, sets_up=True)
    assert broken.read_text() != "half written"


def test_two_at_once_wait_for_each_other_also_when_the_first_is_killed_beside_its_pip(copy: Path) -> None:
    with held(copy) as first:
        first.kill()
        second = start(copy, "demo")
        assert second.stderr
        assert "waiting for another process" in second.stderr.readline()
        assert (copy / "builds").read_text() == "xx", "pip of the first still runs"
    with second:
        second.communicate(timeout=100)
    assert second.returncode == 0
    assert_runs_its_own(copy, sets_up=False)


def test_the_wait_for_another_set_up_is_bounded(copy: Path) -> None:
    text = (copy / "run.py").read_text()
    (copy / "run.py").write_text(text.replace("LOCK_WAIT_S = 900", "LOCK_WAIT_S = 0.1"))
    holder = subprocess.Popen(["flock", copy / ".venv.lock", "sh", "-c", "echo held; cat"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    with holder:
        assert holder.stdout
        holder.stdout.readline()
        done = run(copy, "demo")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("technopay: another process has been setting")


def test_an_environment_of_unknown_origin_is_made_again(copy: Path) -> None:
    (copy / ".venv/technopay-installed").unlink()
    assert_runs_its_own(copy, sets_up=True)


def test_progress_is_seen_and_leaves_standard_output_to_the_command(copy: Path) -> None:
    done = run(copy, "token")
    assert "Installing collected packages: technopay" in done.stderr
    assert done.stdout.count("\n") == 1


def test_an_old_python_can_read_it() -> None:
    ast.parse((ROOT / "run.py").read_text(), feature_version=(3, 6))


@pytest.mark.parametrize("python", OLD_PYTHONS or [None], ids=str)
def test_an_old_python_is_refused_with_one_line(python: Path | None) -> None:
    if python is None:
        pytest.skip("no Python older than 3.11 on this machine")
    done = run(ROOT, "demo", python=str(python))
    assert (done.stdout, done.stderr) == ("", "technopay needs Python 3.11 or later\n")
    assert done.returncode == 1
