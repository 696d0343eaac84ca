"""The report as one HTML file: it opens from a disk, fetches nothing, and runs only its own scripts."""

import base64
import hashlib
from collections.abc import Iterator
from importlib.resources import files

import jinja2
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from technopay.cli.audit import differences_table
from technopay.cli.load.result import Result, Verdict
from technopay.cli.load.tables import result_tables, written_ms, written_share

SCRIPTS = ("vendor/uPlot.iife.min.js", "charts.js")
STYLES = ("vendor/uPlot.min.css", "page.css")
LICENCE = "vendor/LICENSE"

DIFFERENCES_MAX = 200
"""Differences in the text; all of them are in the data of the page."""


def report_html(result: Result) -> str:
    scripts, styles = [_read(path) for path in SCRIPTS], [_read(path) for path in STYLES]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_read("page.html")).render(
        policy=f"default-src 'none'; script-src {_digests(scripts)}; style-src {_digests(styles)}; "
        "img-src data:; base-uri 'none'; form-action 'none'",
        licence=_read(LICENCE),
        styles=styles,
        scripts=scripts,
        result=result,
        data=result.model_dump(mode="json"),
        began=f"{result.began_at:%Y-%m-%d %H:%M:%S} {result.began_at.tzname() or ''}".rstrip(),
        differences=_differences(result.verdict),
        tables=result_tables(result),
        rows=_rows,
        ms=written_ms,
        share=written_share,
        size=lambda size: decimal(round(size)),
    )


def _rows(table: Table) -> Iterator[tuple[Text, ...]]:
    """Return the cells of a table by row."""
    for row in zip(*(column.cells for column in table.columns), strict=True):
        yield tuple(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row)


def _digests(texts: list[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in digests)


def _differences(verdict: Verdict) -> list[Table]:
    own = Table("difference", title="Differences of the acknowledgements")
    for line in verdict.differences[:DIFFERENCES_MAX]:
        own.add_row(Text(line))
    found = verdict.audit.differences if verdict.audit else []
    return [
        *([differences_table(found[:DIFFERENCES_MAX], "Differences of the server’s audit")] if found else []),
        *([own] if verdict.differences else []),
    ]


def _read(path: str) -> str:
    return files("technopay.cli.load").joinpath("page", path).read_text(encoding="utf-8")
