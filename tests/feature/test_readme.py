"""What the README shows is run as it stands there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found, f"the README shows no {language}"
    return found[1]


def test_the_python_example_makes_a_purchase(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", block("python")], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("succeeded ")
    assert ran.stdout.endswith(" 5000 → 3750\n")


def test_the_curl_example_makes_a_purchase(tmp_path: Path) -> None:
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
        ran = subprocess.run(
            ["bash", "-e", "-c", block("bash")],
            env={**os.environ, "API": url},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert ran.returncode == 0, ran.stderr
        payment = json.loads(ran.stdout)
        assert (payment["status"], payment["merchant"]) == ("succeeded", "Bookshop")
    finally:
        server.terminate()
        server.wait(20)
        assert server.stdout is not None
        server.stdout.close()
