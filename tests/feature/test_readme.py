"""The commands and code of the README run unchanged."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TIMES = 3
README = Path(__file__).parents[2] / "README.md"


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found, f"the README shows no {language}"
    return found[1]


@pytest.mark.timeout(600)
def test_the_python_example_makes_a_purchase_again_and_again_in_one_folder(tmp_path: Path) -> None:
    for _ in range(TIMES):
        ran = subprocess.run(
            [sys.executable, "-c", block("python")], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.startswith("succeeded ")
        assert ran.stdout.endswith(" 5000 → 3750\n")


@pytest.mark.parametrize("language", ["python", "bash"])
def test_no_example_evaluates_text(language: str) -> None:
    assert "eval" not in block(language)


@pytest.mark.timeout(600)
def test_the_curl_example_makes_a_purchase_again_and_again_in_one_demo(tmp_path: Path) -> None:
    if shutil.which("curl") is None or shutil.which("bash") is None:
        if os.environ.get("CI"):
            pytest.fail("CI has to have curl and bash")
        pytest.skip("curl or bash is not installed")
    command = [sys.executable, "-m", "technopay.cli", "serve", "--demo", "--port", "0", "--data-dir", "data"]
    server = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1]
        # Into one shell, as a person does.
        ran = subprocess.run(
            ["bash", "-e", "-c", block("bash") * TIMES],
            env={**os.environ, "API": url},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert ran.returncode == 0, ran.stderr
        payments = [json.loads(line) for line in ran.stdout.splitlines()]
        assert [(each["status"], each["merchant"]) for each in payments] == [("succeeded", "Bookshop")] * TIMES
        assert len({each["id"] for each in payments}) == TIMES
    finally:
        server.terminate()
        server.wait(20)
        assert server.stdout is not None
        server.stdout.close()
