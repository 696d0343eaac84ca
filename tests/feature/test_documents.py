"""Checks of the documents: links resolve, names exist, and lists are complete."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from technopay.cli.service_variables import REAL
from technopay.cli.settings import Settings
from technopay.engine.errors import REFUSALS
from technopay.http.problems import PROBLEMS

ROOT = Path(__file__).parents[2]
FOLDERS = ("engine", "storage", "http", "cli", "tests")
PAGES = [
    ROOT / "README.md",
    *(ROOT / folder / "README.md" for folder in FOLDERS),
    *sorted((ROOT / "docs").rglob("*.md")),
]
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
PATH = re.compile(r"`((?:engine|storage|http|cli|tests|docs)/[\w./-]*)`")
OWN_MODULE = re.compile(r"^\| (`[\w./]+`.*?) \|", re.MULTILINE)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MkDocs make them."""
    titles = HEADING.findall(CODE_BLOCK.sub("", page.read_text(encoding="utf-8")))
    return {
        re.sub(r"[^\w\- ]", "", title.replace("`", "").lower()).strip().replace(" ", "-") for title in titles
    }


def links(page: Path) -> Iterator[str]:
    for link in LINK.findall(CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))):
        if "://" not in link:
            yield link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_path_in_a_document_exists(page: Path) -> None:
    for path in PATH.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_map_of_a_folder_has_its_modules_and_no_others(folder: str) -> None:
    text = (ROOT / folder / "README.md").read_text(encoding="utf-8")
    home = ROOT / folder if folder == "tests" else ROOT / folder / "technopay" / folder
    named = {name.rstrip("/") for cell in OWN_MODULE.findall(text) for name in re.findall(r"`([\w./]+)`", cell)}
    present = {
        path.name
        for path in home.iterdir()
        if not path.name.startswith(("_", ".", "conftest", "coverage"))
        and (path.suffix == ".py" or path.is_dir())
    }
    assert named == present


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    listed = re.findall(r"^ +- (?:\w+: )?([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(str(page.relative_to(ROOT / "docs")) for page in PAGES[len(FOLDERS) + 1 :])


def test_every_code_of_an_error_has_its_place_with_its_status() -> None:
    text = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    explained = dict(re.findall(r"^### (\w+)\n\n\*\*(\d{3})\*\* \w", text, re.MULTILINE))
    assert explained == {code: str(status) for code, (status, _) in PROBLEMS.items()}
    assert {cls.code for cls in REFUSALS.values()} <= set(explained)


def test_every_setting_is_in_the_table() -> None:
    text = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`TECHNOPAY_.*?) \|", text, re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`TECHNOPAY_(\w+)`", cell)}
    # The settings of other services belong to their factories.
    ours = {f"{real.prefix}_{variable}" for real in REAL.values() for variable in real.rules}
    assert named == {name.upper() for name in (Settings.model_fields | dict.fromkeys(ours))} - {
        "SERVICE_VARIABLES"
    }


def test_the_site_can_be_made_without_warnings(tmp_path: Path) -> None:
    if find_spec("mkdocs") is None:
        if os.environ.get("CI"):
            pytest.fail("CI has to have mkdocs")
        pytest.skip("mkdocs is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    made = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)
    assert made.returncode == 0, made.stderr
    reference = (tmp_path / "python.html").read_text(encoding="utf-8")
    assert "start_payment" in reference
    assert "Refusals: <code>UserNotFound</code>" in reference
