"""The view of a run on the console: its progress, and the tables and the verdict in the end."""

from collections import Counter

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from technopay.cli.load.recorder import Recorder
from technopay.cli.load.result import PURCHASE, Result
from technopay.cli.load.tables import result_tables, written_share
from technopay.cli.load.traffic import Traffic

OUTCOMES_SHOWN = 6
LINE_EVERY_S = 10


class ConsoleView:
    """Shows the progress of a run: live on a terminal, else as a line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.fields[left]}")
        self._progress = Progress(*columns, console=console, expand=True)
        self._task = self._progress.add_task("", left="")
        self.live = Live(self._progress, console=console, transient=True)
        """Shows it, as a context."""

    def step(self, description: str, total: int | None = None) -> None:
        """Begin a step, of a known length or not."""
        self._progress.reset(self._task, total=total, description=description, left="")
        self.live.update(self._progress)
        if not self._console.is_terminal:
            self._console.print(f"{description} …")

    def advance(self, done: int) -> None:
        self._progress.update(self._task, completed=done)

    def show(self, traffic: Traffic, recorder: Recorder, second: int) -> None:
        """Show the state of the traffic, once a second."""
        left = f"{traffic.left_s:,.0f} s left" if traffic.left_s else "waiting for purchases under way"
        self._progress.update(self._task, completed=second, left=left)
        speed, outcomes = _speed(traffic, recorder), _outcomes(recorder)
        self.live.update(Group(self._progress, Text(speed, style="bold"), Text(outcomes)))
        if not self._console.is_terminal and second % LINE_EVERY_S == 0:
            self._console.print(f"{second:5} s  {speed} · {outcomes}", markup=False, soft_wrap=True)


def _speed(traffic: Traffic, recorder: Recorder) -> str:
    """Describe the last whole second."""
    last = recorder.seconds[-2] if len(recorder.seconds) > 1 else recorder.seconds[-1]
    words = [f"{last.purchases:,} purchases/s", f"{last.requests:,} requests/s"]
    if last.latency:
        words += [f"p50 {last.latency.p50_ms:,.0f} ms", f"p99 {last.latency.p99_ms:,.0f} ms"]
    return " · ".join([*words, f"{traffic.under_way:,} under way"])


def _outcomes(recorder: Recorder) -> str:
    counts = Counter[str]()
    for (operation, _, code), count in recorder.outcomes.items():
        if operation == PURCHASE:
            counts[code] += count
    return " · ".join(f"{code} {count:,}" for code, count in counts.most_common(OUTCOMES_SHOWN))


def print_result(result: Result, console: Console) -> None:
    """Print the tables and the verdict."""
    console.print(f"technopay load · {result.plan.scenario} · {result.ran_s:,.1f} s", style="bold")
    for table in result_tables(result):
        console.print(table)
    console.print(f"rejected: {written_share(result.rejected)} of the purchases that ended", highlight=False)
    server, generator = result.server, result.generator
    if server.cpu_us_per_request is not None:
        console.print(f"server: {server.cpu_us_per_request:,.0f} µs of CPU per request; {_memory(result)}")
    if result.never_begun:
        console.print(f"[yellow]{result.never_begun:,} more purchases were due and waited until the end")
    if not generator.is_to_be_trusted:
        console.print(
            f"[yellow]the load generator did not keep up ({generator.cpu:.2f} cores, "
            f"{generator.lag_p99_ms:,.0f} ms late): these figures are its own, not the server's"
        )
    if result.unexpected:
        console.print(f"[red]{result.unexpected:,} purchases had an unexpected result")
    _print_verdict(result, console)


def _memory(result: Result) -> str:
    server = result.server
    sizes = (server.memory_bytes_before, server.memory_bytes_after, server.memory_bytes_max)
    before, after, most = (f"{(each or 0) / 2**20:,.0f}" for each in sizes)
    return "memory not known" if None in sizes else f"memory {before} → {after} MiB, at most {most}"


def _print_verdict(result: Result, console: Console) -> None:
    verdict = result.verdict
    lines = [f"acknowledgements: {line}" for line in verdict.differences]
    lines += [
        f"audit: {each.invariant}: {each.subject} {each.what}: expected {each.expected}, found {each.found}"
        for each in (verdict.audit.differences if verdict.audit else ())
    ]
    for line in lines:
        console.print(line, style="red", markup=False, highlight=False)
    match verdict.judgement:
        case "clean":
            console.print(
                f"[bold green]clean[/]: all {verdict.acknowledged:,} acknowledgements kept; the audit agrees"
            )
        case "broken":
            console.print(f"[bold red]BROKEN[/]: {escape(', '.join(verdict.broken_invariants))}")
        case "unknown":
            console.print(f"[bold yellow]no verdict[/]: {escape(verdict.problem or 'no reason is known')}")
