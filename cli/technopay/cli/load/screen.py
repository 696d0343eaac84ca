"""What is shown while a run goes on, and the tables at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from technopay.cli.load.recorder import PURCHASE, Recorder, percentile
from technopay.cli.load.result import Latency, Result
from technopay.cli.load.traffic import Traffic
from technopay.cli.load.units import written_share

OUTCOMES_SHOWN = 6
LINE_EVERY_S = 10
TIMES = ("p50 ms", "p95 ms", "p99 ms", "max ms")


class Screen:
    """Shows what happens: on a terminal as a picture that is drawn again, else as a line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.fields[left]}")
        self._progress = Progress(*columns, console=console, expand=True)
        self._task = self._progress.add_task("", left="")
        self._live = Live(self._progress, console=console, transient=True)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show it until the block is left."""
        with self._live:
            yield

    def step(self, description: str, total: int | None = None) -> None:
        """Begin a step; one without a total is as long as it is."""
        self._progress.reset(self._task, total=total, description=description, left="")
        self._live.update(self._progress)
        if not self._console.is_terminal:
            self._console.print(f"{description} …")

    def advance(self, done: int) -> None:
        """Show how much of a step is done."""
        self._progress.update(self._task, completed=done)

    def running(self, traffic: Traffic, recorder: Recorder, second: int) -> None:
        """Show how a run goes, once a second."""
        left = f"{traffic.left_s:,.0f} s left" if traffic.left_s else "finishing what is under way"
        self._progress.update(self._task, completed=second, left=left)
        news, endings = _news(traffic, recorder), _endings(recorder)
        self._live.update(Group(self._progress, Text(news, style="bold"), Text(endings)))
        if not self._console.is_terminal and second % LINE_EVERY_S == 0:
            self._console.print(f"{second:5} s  {news} · {endings}", markup=False, soft_wrap=True)


def _news(traffic: Traffic, recorder: Recorder) -> str:
    """Say how the last whole second was."""
    last = recorder.seconds[-2] if len(recorder.seconds) > 1 else recorder.seconds[-1]
    words = [f"{last.purchases:,} purchases/s", f"{last.requests:,} requests/s"]
    if last.latencies_s:
        ordered = sorted(last.latencies_s)
        words += [f"p{share:.0f} {1000 * percentile(ordered, share / 100):,.0f} ms" for share in (50, 99)]
    return " · ".join([*words, f"{traffic.under_way:,} under way"])


def _endings(recorder: Recorder) -> str:
    """Say how purchases ended so far."""
    counts = Counter[str]()
    for (operation, _, code), count in recorder.outcomes.items():
        if operation == PURCHASE:
            counts[code] += count
    return " · ".join(f"{code} {count:,}" for code, count in counts.most_common(OUTCOMES_SHOWN))


def print_result(result: Result, console: Console) -> None:
    """Print the tables and the verdict."""
    console.print(_operations(result))
    console.print(_stories(result))
    console.print(_outcomes(result))
    console.print(f"rejected: {written_share(result.rejected)} of the purchases that ended", highlight=False)
    server, generator = result.server, result.generator
    if server.cpu_us_per_request is not None:
        console.print(f"server: {server.cpu_us_per_request:,.0f} µs of CPU per request; {_memory(result)}")
    if result.never_begun:
        console.print(
            f"[yellow]{result.never_begun:,} more purchases were due, and waited in line until the end"
        )
    if not generator.is_to_be_trusted:
        console.print(
            f"[yellow]the generator itself did not keep up ({generator.cpu:.2f} cores, "
            f"{generator.lag_p99_ms:,.0f} ms late): these figures are its own, not the server's"
        )
    _print_verdict(result, console)


def _operations(result: Result) -> Table:
    table = Table(title=f"technopay load · {result.plan.scenario} · {result.ran_s:,.1f} s")
    for name in ("of what succeeded", "count", "per s", *TIMES):
        table.add_column(name, justify="left" if name == "of what succeeded" else "right")
    for operation in sorted(result.operations, key=lambda each: each.name == PURCHASE):
        table.add_row(
            operation.name,
            f"{operation.count:,}",
            f"{operation.per_s:,.1f}",
            *_times(operation.latency),
            style="bold" if operation.name == PURCHASE else "",
        )
    return table


def _times(latency: Latency | None) -> list[str]:
    times = (latency.p50_ms, latency.p95_ms, latency.p99_ms, latency.max_ms) if latency else ()
    return [f"{time:,.1f}" for time in times]


def _stories(result: Result) -> Table:
    table = Table(title="stories")
    for name in ("", "ended", "as expected", "turned away", "cut off", "surprises"):
        table.add_column(name, justify="left" if name in ("", "surprises") else "right")
    for story in result.stories:
        surprises = escape("\n".join(f"{count:,} × {what}" for what, count in story.surprises.items()))
        counts = (story.ended, story.as_expected, story.turned_away, story.begun - story.ended)
        table.add_row(story.name.replace("_", " "), *(f"{count:,}" for count in counts), f"[red]{surprises}[/]")
    return table


def _outcomes(result: Result) -> Table:
    table = Table(title="how purchases ended")
    table.add_column("status")
    table.add_column("code")
    for name in ("count", *TIMES):
        table.add_column(name, justify="right")
    ended = [each for each in result.outcomes if each.operation == PURCHASE]
    for outcome in sorted(ended, key=lambda each: -each.count):
        figures = f"{outcome.count:,}", *_times(outcome.latency)
        table.add_row(str(outcome.status or "–"), escape(outcome.code), *figures)
    return table


def _memory(result: Result) -> str:
    server = result.server
    if server.memory_bytes_before is None or server.memory_bytes_after is None:
        return "it does not tell its memory"
    before, after, most = (
        f"{(each or 0) / 2**20:,.0f}"
        for each in (server.memory_bytes_before, server.memory_bytes_after, server.memory_bytes_max)
    )
    return f"memory {before} → {after} MiB, at most {most}"


def _print_verdict(result: Result, console: Console) -> None:
    verdict = result.verdict
    for line in verdict.differences:
        console.print(f"journal: {line}", style="red", markup=False, highlight=False)
    for difference in verdict.audit.differences if verdict.audit else ():
        console.print(
            f"audit: {difference.invariant}: {difference.subject} {difference.what}: "
            f"expected {difference.expected}, found {difference.found}",
            style="red",
            markup=False,
            highlight=False,
        )
    surprises = sum(sum(story.surprises.values()) for story in result.stories)
    if surprises:
        console.print(f"[red]{surprises:,} purchases ended as they should not: see the surprises")
    if verdict.clean:
        console.print(
            f"[bold green]clean[/]: {verdict.acknowledged:,} answers acknowledged and kept; the audit agrees"
        )
    elif verdict.problem and not verdict.is_broken:
        console.print(f"[bold yellow]no verdict[/]: {escape(verdict.problem)}")
    else:
        console.print(f"[bold red]BROKEN[/]: {escape(', '.join(verdict.broken_invariants))}")
