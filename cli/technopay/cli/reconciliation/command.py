"""`technopay reconcile`: compares a settlement file with a store, and decides what was set aside.

It works on the store, as `technopay audit` does, because what is missing can only be known from a whole file:
the API compares at most a thousand rows at a time.
"""

import getpass
import json as json_module
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from technopay.cli.admin.options import read_time
from technopay.cli.audit import DataDir, RedisUrl, audited_store
from technopay.cli.process import fail_to_run, run_loop
from technopay.cli.reconciliation.printing import print_reconciliation
from technopay.cli.reconciliation.settlement_file import read_file
from technopay.cli.settings import Settings, UsageError, load_settings
from technopay.engine import OperatorPayment, Reconciliation, Store
from technopay.engine.commands import ResolvePayment
from technopay.engine.fields import nfc, text_error
from technopay.engine.reconciliation.book import Row, RowBook
from technopay.engine.reconciliation.models import ITEMS_MAX
from technopay.engine.reconciliation.reconciler import Reconciler
from technopay.engine.reconciliation.sides import Decision
from technopay.engine.runtime import UNKEYED_KEPT_MS
from technopay.engine.system import RandomIds
from technopay.engine.values import Operation


@dataclass
class Resolver:
    """Resolves payments that were set aside as their rows say."""

    store: Store
    file_name: str
    by: str
    resolved: list[str] = field(default_factory=list)
    """The first keys; `count` is that of all."""
    count: int = 0

    async def __call__(self, row: Row, payment: OperatorPayment, decision: Decision) -> OperatorPayment:
        """Decide a payment; one that was decided meanwhile is returned as it is."""
        # Each decision is a new call: a second run finds the payment decided.
        operation = Operation(f"{RandomIds().new('rec', 0)}.1", f"{row.key} {decision}", UNKEYED_KEPT_MS)
        note = f"reconciled with {self.file_name} row {row.number}"
        outcome = await self.store.run(ResolvePayment(operation, payment.id, decision, nfc(note), self.by))
        if outcome.code == "ok":
            self.count += 1
            if len(self.resolved) < ITEMS_MAX:
                self.resolved.append(row.key)
        return outcome.value or payment


def reconcile(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="Columns: key, amount, currency, outcome.")],
    redis: RedisUrl = None,
    data_dir: DataDir = None,
    settled_from: Annotated[
        datetime | None,
        typer.Option("--from", parser=read_time, metavar="TIME", help="Begin of the period of the file."),
    ] = None,
    settled_to: Annotated[
        datetime | None,
        typer.Option("--to", parser=read_time, metavar="TIME", help="The time before which it ends."),
    ] = None,
    resolve: Annotated[
        bool,
        typer.Option("--resolve", help="Decide what was set aside as the file says."),
    ] = False,
    by: Annotated[
        str | None, typer.Option(help="Name of the operator.", show_default="the user of the system")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Compare a settlement file with the payments and refunds of a store, which may be in use.

    Exit status: 0 equal, 1 differences, 2 could not run. Nothing is changed without --resolve.
    """
    try:
        if settled_from and settled_to and settled_from >= settled_to:
            raise UsageError("--to has to be later than --from")
        decider = _decider(by) if resolve else None
        settings = load_settings(redis_url=redis, data_dir=data_dir)
        with closing(RowBook()) as book:
            read_file(file, book)
            if not book and not (settled_from and settled_to):
                raise UsageError(f"{file.name} has no row; to see what is missing, give --from and --to")
            run = _run(settings, book, (settled_from, settled_to), file.name, decider)
            result, resolver = run_loop(run)
    except Exception as error:
        # Status 1 would say that there are differences.
        return fail_to_run("reconcile", error)
    if json:
        shown = result.model_dump(mode="json")
        if resolver:
            shown |= {"resolved": resolver.resolved, "resolved_count": resolver.count}
        print(json_module.dumps(shown, indent=2, ensure_ascii=False))
    else:
        print_reconciliation(result, resolver.resolved if resolver else [], Console())
    return 0 if result.is_equal else 1


async def _run(
    settings: Settings,
    book: RowBook,
    period: tuple[datetime | None, datetime | None],
    file_name: str,
    decider: str | None,
) -> tuple[Reconciliation, Resolver | None]:
    async with audited_store(settings, changes=decider is not None) as store:
        resolver = Resolver(store, _shown(file_name), decider) if decider else None
        return await Reconciler(store, book, *period, decide=resolver).reconcile(), resolver


def _decider(by: str | None) -> str:
    """Return the name of the operator.

    Raises:
        UsageError: it is no name, or the system knows none.

    """
    if by is None:
        try:
            by = getpass.getuser()
        except (KeyError, OSError, ImportError):
            raise UsageError("--by is missing: name the operator") from None
    if error := text_error(by, 1, 128):
        raise UsageError(f"--by {error}")
    return nfc(by)


def _shown(file_name: str) -> str:
    """Return the name of a file as a note can have it."""
    return file_name if text_error(file_name, 1, 255) is None else "a settlement file,"
