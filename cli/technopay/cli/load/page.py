"""The report as one HTML file: opens from a disk, fetches nothing, and runs nothing but its own scripts."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files

from technopay.cli.load.page_heading import differences, heading, title_of
from technopay.cli.load.page_markup import Html, element, join
from technopay.cli.load.page_tables import tables
from technopay.cli.load.result import Result

SCRIPTS = ("vendor/uPlot.iife.min.js", "charts.js")
STYLES = ("vendor/uPlot.min.css", "page.css")
LICENCE = "vendor/LICENSE"


def page_html(result: Result) -> str:
    """Write the report."""
    scripts, styles = [_read(path) for path in SCRIPTS], [_read(path) for path in STYLES]
    parts = {
        "policy": _policy(scripts, styles),
        "title": element("title", title_of(result)),
        "licence": Html(f"<!--\nuPlot:\n{_read(LICENCE)}-->"),
        "styles": join(element("style", Html(style)) for style in styles),
        "heading": heading(result),
        "differences": differences(result.verdict),
        "charts": _charts(result),
        "tables": tables(result),
        "data": element("script", _embedded(result), type="application/json", id="result"),
        "scripts": join(element("script", Html(script)) for script in scripts),
    }
    # In one pass: what looks like a place in the data is none.
    return re.sub(r"\{(\w+)\}", lambda found: parts[found[1]], _read("page.html"))


def _policy(scripts: Sequence[str], styles: Sequence[str]) -> Html:
    """Allow the scripts and styles of this page by what is in them, and nothing else."""
    policy = (
        f"default-src 'none'; script-src {_digests(scripts)}; style-src {_digests(styles)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return Html(f'<meta http-equiv="Content-Security-Policy" content="{policy}">')


def _digests(texts: Sequence[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in digests)


def _embedded(result: Result) -> Html:
    """Write the result so that nothing in it can end the element that it stands in, or begin another."""
    text = result.model_dump_json()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Html(text)


def _charts(result: Result) -> Html:
    series = result.series
    usage = "Not known: the server’s metrics do not tell."
    nothing = "There was nothing to draw."
    latency = [*series.p50_ms, *series.p95_ms, *series.p99_ms]
    memory = [*series.server_memory_bytes, *series.store_memory_bytes]
    has_points = bool(series.at_s)
    return join(
        [
            _chart("throughput", "Purchases and requests each second", has_points, nothing),
            _chart("latency", "How long requests took, in milliseconds", _is_known(latency), nothing),
            _chart(
                "outcomes", "How purchases ended, each second", bool(series.outcomes) and has_points, nothing
            ),
            _chart("under_way", "Purchases under way", has_points, nothing),
            _chart("cpu", "Cores that the server used", _is_known(series.server_cpu), usage),
            _chart("memory", "Memory, in MiB", _is_known(memory), usage),
        ]
    )


def _is_known(values: Sequence[float | None]) -> bool:
    return any(value is not None for value in values)


def _chart(name: str, title: str, is_known: bool, otherwise: str) -> Html:
    caption = element("figcaption", title, id=f"chart-{name}-title")
    if not is_known:
        return element("figure", caption, element("p", otherwise, class_="unknown"))
    attributes = {"class": "plot", "tabindex": "0", "role": "group", "aria_labelledby": f"chart-{name}-title"}
    plot = element("div", id=f"chart-{name}", **attributes)
    return element("figure", caption, plot)


def _read(path: str) -> str:
    return files("technopay.cli.load").joinpath("page", path).read_text(encoding="utf-8")
