"""The report of a load test: one file that fetches nothing, true to the result, with the verdict first."""

import base64
import hashlib
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from support.fixtures.load_results import broken_result, clean_result, empty_result, short_result
from support.fixtures.vendored import assert_vendored

from technopay.cli.load import report as report_module
from technopay.cli.load.report import report_html
from technopay.cli.load.result import Result
from technopay.cli.load.tables import written_ms, written_share

FOLDER = Path(report_module.__file__).with_name("page")
VENDOR = FOLDER / "vendor"
HOSTILE = (
    "</script><script>alert(1)</script><!--<script>\"'><img src=x onerror=alert(1)>{{ scripts }}&lt;\u2028"
)
RESULTS = {
    "clean": clean_result,
    "broken": broken_result,
    "long": lambda: clean_result(1_800, rate_per_s=400.0),
    "empty": empty_result,
    "short": short_result,
}


class Page(HTMLParser):
    """A page as a browser parses it: its elements, its text, its scripts and styles."""

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
    """A result in which every external text contains markup."""
    with_differences = broken_result().model_dump(mode="json")
    for flow in with_differences["stories"]:
        flow["surprises"] = {HOSTILE: 1}

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


def test_the_page_refers_to_nothing_and_runs_only_its_own_scripts(result: Result) -> None:
    page = Page(report_html(result))
    assert {*page.values("src"), *page.values("href")} == {"data:,"}
    names = {name for _, attributes in page.elements for name in attributes}
    assert "style" not in names
    assert not any(name.startswith("on") for name in names)

    policy = page.policy()
    assert policy.pop("img-src") == "data:"
    assert [policy.pop(name) for name in ("default-src", "base-uri", "form-action")] == ["'none'"] * 3
    for tag in ("script", "style"):
        texts = [text for name, attributes, text in page.inline if name == tag and "type" not in attributes]
        digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
        assert len(texts) == 2
        assert policy.pop(f"{tag}-src") == " ".join(f"'sha256-{digest}'" for digest in digests)
    assert policy == {}


def test_own_styles_and_scripts_fetch_nothing() -> None:
    for name in ("page.html", "page.css", "charts.js"):
        text = (FOLDER / name).read_text()
        assert not re.search(r"https?:|@import|url\(|fetch\(|innerHTML|XMLHttpRequest", text), name


def test_the_whole_result_is_in_the_page_and_no_two_elements_have_the_same_id(result: Result) -> None:
    page = Page(report_html(result))
    assert Result.model_validate_json(page.data()) == result
    assert max(Counter(page.values("id")).values()) == 1


def test_text_from_elsewhere_stays_text() -> None:
    plain, hostile = Page(report_html(broken_result())), Page(report_html(hostile_result()))
    # The text occurs as often as it was inserted, and made no element.
    assert hostile.words.count(HOSTILE) > 50
    assert {tag for tag, _ in hostile.elements} == {tag for tag, _ in plain.elements}
    assert len(hostile.inline) == len(plain.inline)
    assert not re.search(r"[<>&\u2028]", hostile.data())
    assert json.loads(hostile.data())["plan"]["url"] == HOSTILE


@pytest.mark.parametrize(
    ("result", "judgement", "heading", "is_trusted"),
    [
        (clean_result(), "clean", "Clean: money moved as it has to", True),
        (broken_result(), "broken", "BROKEN: money did not move as it has to", False),
        (empty_result(), "unknown", "No verdict", True),
    ],
    ids=["clean", "broken", "unknown"],
)
def test_the_verdict_comes_first_and_then_the_trust_in_the_figures(
    result: Result, judgement: str, heading: str, *, is_trusted: bool
) -> None:
    page = report_html(result)

    assert result.verdict.judgement == judgement
    assert re.findall("<h1>(.*?)</h1>", page) == [heading]
    assert page.index(heading) < page.index("Scenario") < page.index("Over time")
    assert f'class="verdict {judgement}"' in page
    assert (judgement == "unknown") is ("connection refused" in page)
    assert ("Do not trust" in page.partition("Over time")[0]) is not is_trusted
    assert ("The load generator kept up" in page) is is_trusted


def test_a_broken_run_names_each_invariant_once_and_shows_all_differences() -> None:
    page = report_html(broken_result())
    [names] = re.findall('<p class="invariants">(.*?)</p>', page)
    assert re.findall("<code>(.*?)</code>", names) == [
        "balance_is_sum_of_entries", "every_debit_ends_once", "one_payment_per_invoice"
    ]  # fmt: skip
    for subject in ("wal_000000000000000000000002", "was paid by two payments"):
        assert subject in page.partition("Over time")[0]
    assert "What is broken" not in report_html(clean_result())


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
    assert clean_result().verdict.model_copy(update=changes).judgement == judgement


def test_an_unknown_figure_is_never_a_zero() -> None:
    page = report_html(empty_result())
    [figures] = re.findall('<ul class="figures".*?</ul>', page, re.DOTALL)
    assert figures.count(">not known<") == 7
    assert 'class="plot"' not in page
    short = report_html(short_result())
    assert 'id="chart-cpu"' not in short
    assert 'id="chart-memory"' in short
    assert '"server_memory_bytes": [null,' in Page(short).data()


def test_every_chart_has_its_place_in_the_page() -> None:
    drawn = re.findall(r'^ .*\bdraw\("(\w+)"', (FOLDER / "charts.js").read_text(), re.MULTILINE)
    places = re.findall(r'<div id="chart-(\w+)" class="plot"', report_html(clean_result()))
    assert sorted(drawn) == sorted(places)
    assert len(places) == 6


def test_outcomes_are_sorted_and_a_rare_one_is_not_zero() -> None:
    table = report_html(broken_result()).partition("<h3>Outcomes</h3>")[2].partition("</table>")[0]
    rows = re.findall(r'<th scope="row">(\w+)</th>\s*<td>(\w+)</td>', table)
    assert rows[:2] == [("purchase", "succeeded"), ("purchase", "confirmation_invalid")]
    assert rows[-1] == ("confirm", "ServerDisconnectedError")
    assert '<td class="number bad">no reply</td>' in table
    assert "&lt; 0.1 %" in table
    assert ">0.0 %" not in table


def test_figures_are_written_for_people() -> None:
    durations = [written_ms(each) for each in (0.123, 3.14, 57.4, 1234.5)]
    assert durations == ["0.12 ms", "3.1 ms", "57 ms", "1.23 s"]
    assert [written_share(each) for each in (0.0, 0.0001, 0.123)] == ["0.0 %", "< 0.1 %", "12.3 %"]
    figures = re.findall("<strong>(.*?)</strong>", report_html(clean_result()))
    assert figures[-3:] == ["212 µs", "1.9 kB", "82.0 MB → 96.0 MB"]


def test_vendored_files_are_unchanged_and_their_licence_is_in_the_page() -> None:
    assert_vendored(VENDOR)
    licence = (VENDOR / "LICENSE").read_text()
    assert "MIT License" in licence
    assert licence in report_html(empty_result())
