"""The tables of a result, for the screen and for the report."""

from collections import Counter
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from technopay.cli.load.result import PURCHASE, FlowResult, Latency, Outcome, Result

TIMES = ("p50", "p95", "p99", "max")
NOT_KNOWN = "–"

Cell = str | Text


def result_tables(result: Result) -> list[Table]:
    return [_flows(result.stories), _operations(result), _outcomes(result)]


def written_share(share: float) -> str:
    """Write a share; one above zero is never written as 0 %."""
    return f"{100 * share:.1f} %" if share >= 0.0005 or not share else "< 0.1 %"


def written_ms(milliseconds: float) -> str:
    """Write a duration with three significant digits: 0.42 ms, 3.1 ms, 57 ms, 1.23 s."""
    if milliseconds >= 1_000:
        return f"{milliseconds / 1_000:,.2f} s"
    return f"{milliseconds:.{0 if milliseconds >= 10 else 1 if milliseconds >= 1 else 2}f} ms"


def _table(title: str, texts: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(*texts, title=title)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _flows(flows: Sequence[FlowResult]) -> Table:
    table = _table("Flows", ["flow"], ["begun", "ended", "as expected", "rejected", "unexpected"])
    table.add_column("unexpected results")
    for flow in [*flows, *([_sum(flows)] if len(flows) > 1 else [])]:
        unexpected = flow.surprises.total()
        results = "\n".join(f"{count:,} × {result}" for result, count in flow.surprises.most_common())
        table.add_row(
            flow.name.replace("_", " "),
            *(f"{count:,}" for count in (flow.begun, flow.ended, flow.as_expected, flow.turned_away)),
            Text(f"{unexpected:,}", style="red" if unexpected else ""),
            Text(results),
        )
    return table


def _sum(flows: Sequence[FlowResult]) -> FlowResult:
    whole = FlowResult(name="all")
    for flow in flows:
        whole.surprises.update(flow.surprises)
        for name in ("begun", "ended", "as_expected", "turned_away"):
            setattr(whole, name, getattr(whole, name) + getattr(flow, name))
    return whole


def _operations(result: Result) -> Table:
    table = _table("Operations that succeeded", ["operation"], ["count", "per s", *TIMES])
    for operation in sorted(result.operations, key=lambda each: each.name != PURCHASE):
        row = [operation.name, f"{operation.count:,}", f"{operation.per_s:,.1f}", *_times(operation.latency)]
        table.add_row(*row, style="bold" if operation.name == PURCHASE else "")
    return table


def _outcomes(result: Result) -> Table:
    """Sort outcomes: of the whole purchase, then of requests in their order; the most frequent first."""
    order = {operation.name: place for place, operation in enumerate(result.operations)} | {PURCHASE: -1}
    counts = Counter[str]()
    for outcome in result.outcomes:
        counts[outcome.operation] += outcome.count

    def place(outcome: Outcome) -> tuple[int, str, int, str]:
        return order.get(outcome.operation, len(order)), outcome.operation, -outcome.count, outcome.code

    table = _table("Outcomes", ["operation", "code"], ["status", "count", "share", *TIMES])
    for outcome in sorted(result.outcomes, key=place):
        is_fault = outcome.status == 0 or outcome.status >= 500
        table.add_row(
            Text(outcome.operation),
            Text(outcome.code),
            Text(str(outcome.status) if outcome.status else "no reply", style="red" if is_fault else ""),
            f"{outcome.count:,}",
            written_share(outcome.count / counts[outcome.operation] if outcome.count else 0.0),
            *_times(outcome.latency),
        )
    return table


def _times(latency: Latency | None) -> list[Cell]:
    times = (latency.p50_ms, latency.p95_ms, latency.p99_ms, latency.max_ms) if latency else (None,) * 4
    return [NOT_KNOWN if time is None else written_ms(time) for time in times]
