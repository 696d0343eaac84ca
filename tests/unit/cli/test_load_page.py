"""The report of a load test: one file, shut to the outside, true to the result, and plain about the verdict."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from support.load_results import broken_result, clean_result, empty_result, short_result

from technopay.cli.load import page as page_module
from technopay.cli.load.page import page_html
from technopay.cli.load.page_heading import judge
from technopay.cli.load.result import Result
from technopay.cli.load.units import (
    written_bytes,
    written_change,
    written_ms,
    written_rate,
    written_s,
    written_us,
)

FOLDER = Path(page_module.__file__).with_name("page")
VENDOR = FOLDER / "vendor"
HOSTILE = "</script><script>alert(1)</script><!--<script>\"'><img src=x onerror=alert(1)>{scripts}&lt;\u2028"
RESULTS = {
    "clean": clean_result,
    "broken": broken_result,
    "long": lambda: clean_result(1_800, rate_per_s=400.0),
    "empty": empty_result,
    "short": short_result,
}


class Page(HTMLParser):
    """A page as a browser reads it: its elements, its text, and what its scripts and styles are."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[tuple[str, dict[str, str | None], str]] = []
        self.words = ""
        self._open = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag in ("script", "style")
        if self._open:
            self.inline.append((tag, dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self._open = False

    def handle_data(self, data: str) -> None:
        if self._open:
            tag, attributes, text = self.inline[-1]
            self.inline[-1] = (tag, attributes, text + data)
        else:
            self.words += data + " "

    def values(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.elements if name in attributes]

    def policy(self) -> dict[str, str]:
        [content] = [
            attributes["content"] or ""
            for _, attributes in self.elements
            if attributes.get("http-equiv") == "Content-Security-Policy"
        ]
        return dict(directive.split(" ", 1) for directive in content.split("; "))

    def data(self) -> str:
        [text] = [text for _, attributes, text in self.inline if attributes.get("type") == "application/json"]
        return text


def hostile_result() -> Result:
    """A result in which every text from elsewhere tries to be more than text."""
    with_differences = broken_result().model_dump(mode="json")
    for story in with_differences["stories"]:
        story["surprises"] = {HOSTILE: 1}

    def spoilt(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: spoilt(each) for key, each in value.items()}
        if isinstance(value, list):
            return [spoilt(each) for each in value]
        return HOSTILE if isinstance(value, str) else value

    result = spoilt(with_differences) | {"began_at": with_differences["began_at"]}
    result["series"]["outcomes"] = {HOSTILE: result["series"]["under_way"]}
    return Result.model_validate(result)


@pytest.fixture(params=[*RESULTS, "hostile"])
def result(request: pytest.FixtureRequest) -> Result:
    return hostile_result() if request.param == "hostile" else RESULTS[request.param]()


def test_the_page_refers_to_nothing_and_only_what_it_brings_along_may_run(result: Result) -> None:
    page = Page(page_html(result))
    assert {*page.values("src"), *page.values("href")} == {"data:,"}
    names = {name for _, attributes in page.elements for name in attributes}
    assert "style" not in names
    assert not any(name.startswith("on") for name in names)

    policy = page.policy()
    assert policy.pop("img-src") == "data:"
    assert {name: policy.pop(name) for name in ("default-src", "base-uri", "form-action")} == {
        "default-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    for tag in ("script", "style"):
        texts = [text for name, attributes, text in page.inline if name == tag and "type" not in attributes]
        digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
        assert len(texts) == 2
        assert policy.pop(f"{tag}-src") == " ".join(f"'sha256-{digest}'" for digest in digests)
    assert policy == {}


def test_styles_and_scripts_of_ours_fetch_nothing() -> None:
    for name in ("page.html", "page.css", "charts.js"):
        text = (FOLDER / name).read_text()
        assert not re.search(r"https?:|@import|url\(|fetch\(|innerHTML|XMLHttpRequest", text), name


def test_the_whole_result_is_in_the_page(result: Result) -> None:
    assert Result.model_validate_json(Page(page_html(result)).data()) == result


def test_text_from_elsewhere_stays_text() -> None:
    plain, hostile = Page(page_html(broken_result())), Page(page_html(hostile_result()))
    # As many places where the text stands as it has been put into, and no element that it made.
    assert hostile.words.count(HOSTILE) > 50
    assert {tag for tag, _ in hostile.elements} == {tag for tag, _ in plain.elements}
    assert len(hostile.inline) == len(plain.inline)
    assert not re.search(r"[<>&\u2028]", hostile.data())
    assert json.loads(hostile.data())["plan"]["url"] == HOSTILE


def test_no_two_elements_have_the_same_id(result: Result) -> None:
    assert max(Counter(Page(page_html(result)).values("id")).values()) == 1


def test_the_verdict_is_said_first_and_cannot_be_mistaken() -> None:
    said = {
        "clean": "Clean: money moved as it has to",
        "broken": "BROKEN: money did not move as it has to",
        "unknown": "No verdict",
    }
    for judgement, result in (
        ("clean", clean_result()),
        ("broken", broken_result()),
        ("unknown", empty_result()),
    ):
        assert judge(result.verdict) == judgement
        page = page_html(result)
        [first] = re.findall("<h1>(.*?)</h1>", page)
        assert first == said[judgement]
        assert page.index(first) < page.index("Scenario") < page.index("Over time")
        assert f'class="verdict {judgement}"' in page
    assert "connection refused" in page_html(empty_result())


def test_a_broken_run_names_each_invariant_once_and_shows_all_differences() -> None:
    page = page_html(broken_result())
    [names] = re.findall('<p class="invariants">(.*?)</p>', page)
    assert re.findall("<code>(.*?)</code>", names) == [
        "balance_is_sum_of_entries",
        "every_debit_ends_once",
        "one_payment_per_invoice",
    ]
    assert "wal_000000000000000000000002" in page.partition("Over time")[0]
    assert "was paid by two payments" in page.partition("Over time")[0]
    assert "What is broken" not in page_html(clean_result())


@pytest.mark.parametrize(
    ("changes", "judgement"),
    [
        ({"problem": "The audit did not answer."}, "unknown"),
        ({"clean": False}, "unknown"),
        ({"clean": False, "differences": ["limit_is_sum_of_debits: XTS"], "problem": "No audit."}, "broken"),
        ({"audit": broken_result().verdict.audit}, "broken"),
        ({"audit": None}, "clean"),
    ],
)
def test_one_difference_is_enough_and_doubt_is_never_clean(changes: dict[str, Any], judgement: str) -> None:
    assert judge(clean_result().verdict.model_copy(update=changes)) == judgement


def test_figures_of_a_generator_that_was_too_busy_are_not_to_be_trusted() -> None:
    assert "Do not trust" in page_html(broken_result()).partition("Over time")[0]
    assert "Do not trust" not in page_html(clean_result())
    assert "✓ To be trusted" in page_html(clean_result())


def test_what_is_not_known_is_said_and_never_a_zero() -> None:
    page = page_html(empty_result())
    [figures] = re.findall('<ul class="figures".*?</ul>', page)
    assert figures.count(">not known<") == 7
    assert 'class="plot"' not in page
    short = page_html(short_result())
    assert 'id="chart-cpu"' not in short
    assert 'id="chart-memory"' in short
    assert '"server_memory_bytes":[null,' in Page(short).data()


def test_every_chart_has_its_place_in_the_page() -> None:
    drawn = re.findall(r'^ .*\bdraw\("(\w+)"', (FOLDER / "charts.js").read_text(), re.MULTILINE)
    places = re.findall(r'<div id="chart-(\w+)" class="plot"', page_html(clean_result()))
    assert sorted(drawn) == sorted(places)
    assert len(places) == 6


def test_outcomes_are_sorted_and_a_rare_one_is_not_written_as_none() -> None:
    page = page_html(broken_result())
    section = page.partition('<h2 id="outcomes">')[2].partition("</section>")[0]
    rows = re.findall(r'<th scope="row">(\w+)</th><td><code>(\w+)</code>', section)
    assert rows[:2] == [("purchase", "succeeded"), ("purchase", "confirmation_invalid")]
    assert rows[-1] == ("confirm", "ServerDisconnectedError")
    assert "no answer" in section
    assert "&lt; 0.1 %" in section
    assert ">0.0 %" not in section


def test_figures_are_written_for_people() -> None:
    assert [written_ms(each) for each in (0.123, 3.14, 57.4, 1234.5)] == [
        "0.12 ms",
        "3.1 ms",
        "57 ms",
        "1.23 s",
    ]
    assert [written_rate(each) for each in (0.125, 56.72, 1234.5)] == ["0.12", "56.7", "1,234"]
    assert [written_s(each) for each in (20, 1800, 95.25, 125, 3900)] == [
        "20.0 s", "30 min", "95.2 s", "2 min 5 s", "1 h 5 min",
    ]  # fmt: skip
    assert [written_bytes(each) for each in (12, 1912, 80 * 2**20, 3 * 2**30, None)] == [
        "12 B", "1.9 KiB", "80.0 MiB", "3.00 GiB", "not known",
    ]  # fmt: skip
    assert written_change(80 * 2**20, 90 * 2**20) == "80.0 → 90.0 MiB"
    assert written_change(80 * 2**20, 2**30) == "80.0 MiB → 1.00 GiB"
    assert written_change(None, 2**30) == "not known → 1.00 GiB"
    assert written_change(None, None) == written_us(None) == "not known"


def test_what_was_vendored_is_unchanged_and_its_licence_is_in_the_page() -> None:
    sums = {line[66:]: line[:64] for line in (VENDOR / "SHA256SUMS").read_text().splitlines()}
    found = {path.name for path in VENDOR.iterdir()} - {"README.md", "SHA256SUMS"}
    assert found == set(sums)
    for name, digest in sums.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest, name
    licence = (VENDOR / "LICENSE").read_text()
    assert "MIT License" in licence
    assert licence in page_html(empty_result())
