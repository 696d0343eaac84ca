"""The report as one HTML file: it opens from a disk, fetches nothing, and runs only its own scripts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from importlib.resources import files

import jinja2
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from technopay.cli.audit import differences_table
from technopay.cli.load.result import PURCHASE, Result, Series, Verdict
from technopay.cli.load.tables import result_tables, written_ms, written_share

SCRIPTS = ("vendor/uPlot.iife.min.js", "charts.js")
STYLES = ("vendor/uPlot.min.css", "page.css")
LICENCE = "vendor/LICENSE"
TITLES = {
    "clean": ("✓", "Clean: money moved as it has to"),
    "broken": ("✗", "BROKEN: money did not move as it has to"),
    "unknown": ("?", "No verdict"),
}

DIFFERENCES_MAX = 200
"""Differences in the text; all of them are in the data of the page."""


def report_html(result: Result) -> str:
    scripts, styles = [_read(path) for path in SCRIPTS], [_read(path) for path in STYLES]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    verdict = result.verdict
    return environment.from_string(_read("page.html")).render(
        policy=f"default-src 'none'; script-src {_digests(scripts)}; style-src {_digests(styles)}; "
        "img-src data:; base-uri 'none'; form-action 'none'",
        licence=_read(LICENCE),
        styles=styles,
        scripts=scripts,
        result=result,
        data=result.model_dump(mode="json"),
        began=f"{result.began_at:%Y-%m-%d %H:%M:%S} {result.began_at.tzname() or ''}".rstrip(),
        verdict=verdict,
        title=TITLES[verdict.judgement],
        basis=_basis(verdict),
        differences=_differences(verdict),
        facts=_facts(result),
        figures=_figures(result),
        charts=_charts(result.series),
        tables=result_tables(result),
        rows=_rows,
        lag=written_ms(result.generator.lag_p99_ms),
    )


def _rows(table: Table) -> Iterator[tuple[Text, ...]]:
    """Return the cells of a table by row."""
    for row in zip(*(column.cells for column in table.columns), strict=True):
        yield tuple(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row)


def _digests(texts: list[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in digests)


def _basis(verdict: Verdict) -> str:
    """Describe the basis of the verdict."""
    own = f"{verdict.acknowledged:,} acknowledgements of payments were kept"
    if verdict.audit is None:
        return f"{own}. There is no audit of the server."
    checked = verdict.audit.checked
    return (
        f"{own}; the server’s audit checked {checked.payments:,} payments, {checked.invoices:,} invoices, "
        f"{checked.wallets:,} wallets and {checked.entries:,} entries."
    )


def _differences(verdict: Verdict) -> list[Table]:
    own = Table("difference", title="Differences of the acknowledgements")
    for line in verdict.differences[:DIFFERENCES_MAX]:
        own.add_row(Text(line))
    found = verdict.audit.differences if verdict.audit else []
    return [
        *([differences_table(found[:DIFFERENCES_MAX], "Differences of the server’s audit")] if found else []),
        *([own] if verdict.differences else []),
    ]


def _facts(result: Result) -> dict[str, str]:
    plan = result.plan
    rate = f"{plan.rate_per_s:,.1f} purchases/s begun, " if plan.rate_per_s is not None else ""
    early = f" of {plan.duration_s:,.1f} s, ended early" if result.ended_early else ""
    return {
        "Scenario": plan.scenario,
        "Server": plan.url,
        "Duration": f"{result.ran_s:,.1f} s{early}",
        "Load": f"{plan.users:,} users, {rate}at most {plan.concurrency:,} purchases at a time",
        "Machine": result.machine,
        "Version": f"technopay {result.version}",
    }


def _figures(result: Result) -> list[tuple[str, str | None, str]]:
    """Return the name, the value or None, and the context of the most important figures."""
    purchase = next((each for each in result.operations if each.name == PURCHASE), None)
    latency, server = purchase.latency if purchase else None, result.server
    times = {
        name: written_ms(getattr(latency, f"{name}_ms")) if latency else None
        for name in ("p50", "p95", "p99", "max")
    }
    cpu, most = server.cpu_us_per_request, server.memory_bytes_max
    memory = [server.memory_bytes_before, server.memory_bytes_after]
    growth = server.store_bytes_per_purchase
    return [
        ("Purchases / s", f"{purchase.per_s:,.1f}" if purchase else None,
         f"{purchase.count:,} paid" if purchase else ""),
        ("Rejected", written_share(result.rejected), "of the purchases that ended"),
        ("Purchase p50", times["p50"], ""),
        ("Purchase p95", times["p95"], ""),
        ("Purchase p99", times["p99"], f"longest {times['max']}" if latency else ""),
        ("CPU per request", None if cpu is None else f"{cpu:,.0f} µs", "of the server"),
        ("Store growth", None if growth is None else decimal(round(growth)), "per purchase"),
        ("Server memory", None if None in memory else " → ".join(decimal(round(each or 0)) for each in memory),
         "" if most is None else f"at most {decimal(round(most))}"),
    ]  # fmt: skip


def _charts(series: Series) -> list[tuple[str, str, bool]]:
    """Return the name and title of each chart, and whether there is something to draw."""

    def is_known(*lists: list[float | None]) -> bool:
        return any(value is not None for values in lists for value in values)

    has_points = bool(series.at_s)
    return [
        ("throughput", "Purchases and requests per second", has_points),
        (
            "latency",
            "Latency of requests, in milliseconds",
            is_known(series.p50_ms, series.p95_ms, series.p99_ms),
        ),
        ("outcomes", "Outcomes of purchases per second", has_points and bool(series.outcomes)),
        ("under_way", "Purchases under way", has_points),
        ("cpu", "Cores in use by the server", is_known(series.server_cpu)),
        ("memory", "Memory, in MB", is_known(series.server_memory_bytes, series.store_memory_bytes)),
    ]


def _read(path: str) -> str:
    return files("technopay.cli.load").joinpath("page", path).read_text(encoding="utf-8")
