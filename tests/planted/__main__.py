"""Break our own code, one rule at a time, and see whether the tests notice: `python3 run.py test --planted`."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from planted.breakage import Breakage, StaleError, unknown_tests
from planted.catalogue import BREAKAGES
from planted.runner import Verdict, try_breakage, try_unbroken
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

AT_A_TIME = 2
WIDTH = 160


def main() -> int:
    """Return 0 if every breakage is caught, 1 if one is not, 2 if the catalogue is out of date."""
    options = parse_arguments()
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    if options.list:
        console.print(list_table())
        return 0
    chosen = [breakage for breakage in BREAKAGES if not options.names or breakage.name in options.names]
    if stale := find_stale(chosen):
        for line in stale:
            console.print(f"[red]out of date[/] {escape(line)}")
        return 2
    troubles, verdicts = try_all(chosen, console)
    console.print(verdict_table(chosen, verdicts, with_why=options.why))
    for trouble in troubles:
        console.print(f"[red]unbroken, and yet:[/] {escape(trouble)}")
    caught = sum(verdict.is_caught for verdict in verdicts.values())
    unbroken = "fails" if troubles else "passes"
    console.print(
        f"{caught} of {len(chosen)} breakages are caught; the unbroken copy {unbroken} the same tests"
    )
    return 0 if caught == len(chosen) and not troubles else 1


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="run.py test --planted", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these breakages")
    parser.add_argument("--why", action="store_true", help="show on what each test failed")
    parser.add_argument("--list", action="store_true", help="list the breakages and run nothing")
    options = parser.parse_args()
    if unknown := set(options.names) - {breakage.name for breakage in BREAKAGES}:
        parser.error(f"no such breakage: {', '.join(sorted(unknown))}; --list lists them")
    return options


def find_stale(breakages: Sequence[Breakage]) -> list[str]:
    """Return the parts of the catalogue that do not match the current code."""
    stale = []
    for breakage in breakages:
        try:
            breakage.broken()
        except StaleError as error:
            stale.append(f"{breakage.name}: {error}")
        stale += [f"{breakage.name}: no such test: {test}" for test in unknown_tests(breakage.tests)]
    return stale


def try_all(breakages: Sequence[Breakage], console: Console) -> tuple[list[str], Mapping[str, Verdict]]:
    """Try the unbroken copy and every breakage, several at a time."""
    tests = [test for breakage in breakages for test in breakage.tests]
    with Progress(console=console, transient=True) as progress, ThreadPoolExecutor(AT_A_TIME) as pool:
        task = progress.add_task("breaking", total=len(breakages) + 1)
        unbroken = pool.submit(try_unbroken, tests)
        tried = {breakage.name: pool.submit(try_breakage, breakage) for breakage in breakages}
        futures: list[Future[Any]] = [unbroken, *tried.values()]
        for future in futures:
            future.add_done_callback(lambda _: progress.advance(task))
        return unbroken.result(), {name: future.result() for name, future in tried.items()}


def list_table() -> Table:
    table = empty_table("tests that are meant to catch it")
    for breakage in BREAKAGES:
        table.add_row(breakage.name, breakage.rule, escape("\n".join(map(short, breakage.tests))))
    return table


def verdict_table(breakages: Sequence[Breakage], verdicts: Mapping[str, Verdict], *, with_why: bool) -> Table:
    """Return a table of breakages and the tests that catch them, with the failures if `with_why` is set."""
    table = empty_table("caught by")
    for breakage in breakages:
        verdict = verdicts[breakage.name]
        lines = []
        for note in verdict.caught_by:
            lines.append(escape(short(note.test)))
            lines += [f"[dim]{escape(note.why)}[/]"] if with_why else []
        lines += [f"[red]NOT CAUGHT[/] {escape(trouble)}" for trouble in verdict.troubles]
        table.add_row(breakage.name, breakage.rule, "\n".join(lines))
    return table


def empty_table(tests: str) -> Table:
    """Return a table of breakages, their rules and their tests."""
    table = Table(show_lines=True)
    for title in ("breakage", "the rule that it breaks", tests):
        table.add_column(title, overflow="fold", no_wrap=title == "breakage")
    return table


def short(test: str) -> str:
    """Return a test's name without its folder."""
    return test.rpartition("/")[2]


if __name__ == "__main__":
    sys.exit(main())
