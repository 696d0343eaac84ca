"""Clients generated from the OpenAPI document compile and make a purchase."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.processes.service import Service, running_command

HERE = Path(__file__).parent
PYTHON, TYPESCRIPT = HERE / "python", HERE / "typescript"
CACHE = HERE.parents[1] / ".cache"
"""The cache of pip and npm installs, so that a second run is quick; git ignores it."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running_command(
        tmp_path / "server", "serve", "--demo", "--port", "0", "--data-dir", "data"
    ) as running:
        yield running


@pytest.fixture
def npm() -> str:
    found = shutil.which("npm")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("CI has to have Node.js and npm")
        pytest.skip("Node.js and npm are not installed")
    return found


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command that has to succeed; return its output."""
    ended = subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def cached(listed: Path, install: Callable[[Path], None]) -> Path:
    """Install the requirements of a file, unless they are installed already; return the folder."""
    wanted = hashlib.sha256(listed.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = CACHE / f"{listed.parent.name}-client-{wanted}"
    if not (folder / "installed").exists():
        folder.mkdir(parents=True, exist_ok=True)
        install(folder)
        (folder / "installed").touch()
    return folder


def test_the_python_client_makes_a_purchase(service: Service, tmp_path: Path) -> None:
    def install(folder: Path) -> None:
        run(sys.executable, "-m", "venv", folder, cwd=folder)
        pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        run(*pip, "--requirement", PYTHON / "requirements.txt", cwd=folder)

    python = cached(PYTHON / "requirements.txt", install) / "bin" / "python"
    package = tmp_path / "technopay_client"
    run(
        python, "-m", "openapi_python_client", "generate", "--url", f"{service.url}/openapi.json",
        "--meta", "none", "--output-path", package, "--config", PYTHON / "config.yml", "--fail-on-warning",
        cwd=tmp_path,
    )  # fmt: skip
    script = shutil.copy(PYTHON / "purchase.py", tmp_path)

    run(python, "-m", "compileall", "-q", package, cwd=tmp_path)
    run(
        sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file=",
        "--python-executable", python, "--cache-dir", CACHE / "mypy", script, cwd=tmp_path,
    )  # fmt: skip
    assert run(python, script, service.url, cwd=tmp_path).endswith(" succeeded\n")


def test_the_typescript_client_makes_a_purchase(service: Service, tmp_path: Path, npm: str) -> None:
    def install(folder: Path) -> None:
        for name in ("package.json", ".npmrc"):
            shutil.copy(TYPESCRIPT / name, folder)
        run(npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", cwd=folder)

    for name in ("package.json", "tsconfig.json", "purchase.ts"):
        shutil.copy(TYPESCRIPT / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(cached(TYPESCRIPT / "package.json", install) / "node_modules")
    programs = tmp_path / "node_modules" / ".bin"

    run(programs / "openapi-typescript", f"{service.url}/openapi.json", "--output", "api.d.ts", cwd=tmp_path)
    run(programs / "tsc", cwd=tmp_path)
    assert run("node", tmp_path / "built" / "purchase.js", service.url, cwd=tmp_path).endswith(" succeeded\n")
