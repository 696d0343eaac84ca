"""Prints a reconciliation for people."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from technopay.engine import Mismatch, Reconciliation
from technopay.engine.notifications.texts import money
from technopay.engine.reconciliation.models import Ours, Theirs
from technopay.engine.record import rfc3339

KINDS = ("missing", "extra", "different")


def print_reconciliation(result: Reconciliation, resolved: Sequence[str], console: Console) -> None:
    items = [(kind, each) for kind in KINDS for each in getattr(result, kind)]
    if items:
        console.print(_table(items))
    for key in resolved:
        print(f"resolved: {key}")
    counts = result.counts
    left = sum(getattr(counts, kind) for kind in KINDS) - len(items)
    if left:
        print(f"{left:,} differences more are not listed: compare a file of a shorter period")
    if result.settled_from and result.settled_to:
        print(f"period: from {rfc3339(result.settled_from)} to before {rfc3339(result.settled_to)}")
    parts = [f"{counts.rows:,} rows", f"{counts.equal:,} equal"]
    print(", ".join([*parts, *(f"{getattr(counts, kind):,} {kind}" for kind in KINDS)]))
    print("equal" if result.is_equal else "DIFFERENT")


def _table(items: Sequence[tuple[str, Mismatch]]) -> Table:
    table = Table(title="Differences")
    for name in ("difference", "key", "ours", "theirs"):
        table.add_column(name, overflow="fold")
    for kind, each in items:
        table.add_row(kind, Text(each.key), _side(each.ours), _side(each.theirs))
    return table


def _side(side: Ours | Theirs | None) -> str:
    if side is None:
        return "-"
    marks = [name for name in ("set_aside", "resolved") if getattr(side, name, False)]
    return ", ".join([f"{money(side.amount, side.currency)} {side.outcome}", *marks])
