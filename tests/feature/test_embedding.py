"""The examples of docs/embedding.md run, and the page's excerpts are parts of them."""

import re
import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "embedding.md").read_text(encoding="utf-8")
EXAMPLES = sorted((DOCS / "examples").glob("*.py"))
PROGRAMS = [example for example in EXAMPLES if example.stem != "services_stub"]
"""Those that end by themselves. The stub is run by test_real_services.py and test_services_stub.py."""
PRINTED = {
    "http_client": "succeeded 5000 → 3750\n['payment', 'deposit']\n",
    "http_mail": "",  # for `serve`; run by test_real_services.py
    "inside_aiohttp": "401 Sign in at the shop.\nsucceeded 5000 → 3750\n",
    "inside_fastapi": "422 confirmation_invalid\nsucceeded 5000 → 3750\n",
    "own_ports": "succeeded 5000 → 3750\n",
    "plain_asyncio": "succeeded 5000 → 3750\n",
    "testing": "passed\n",
}


@pytest.mark.parametrize("example", PROGRAMS, ids=lambda example: example.stem)
def test_an_example_runs_and_prints_its_result(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(example), run_name="__main__")

    printed = capsys.readouterr().out
    # The message arrives before the end or after it.
    assert re.sub(r"^to .*\n", "", printed, flags=re.MULTILINE) == PRINTED[example.stem]


@pytest.mark.parametrize("shown", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
def test_what_the_page_shows_is_in_an_example(shown: str) -> None:
    assert any(f"\n{shown}" in example.read_text(encoding="utf-8") for example in EXAMPLES), shown


def test_every_example_is_on_the_page() -> None:
    links = set(re.findall(r"\]\(([^)#]+)\)", PAGE))

    assert {f"examples/{example.name}" for example in EXAMPLES} <= links
