"""The operation that compares a settlement file with the payments here."""

from contextlib import closing

from technopay.engine import fields
from technopay.engine.fields import Time
from technopay.engine.operation import operation
from technopay.engine.reconciliation.book import Row, RowBook
from technopay.engine.reconciliation.models import Reconciliation, SettlementRows, outcome_error
from technopay.engine.reconciliation.reconciler import Reconciler
from technopay.engine.runtime import Runtime

ENTRIES_MAX = 200_000
"""Entries of the journal that are read for one call: a few seconds of work beside payments."""


@operation("validation_failed archive_unavailable")
async def reconcile(
    runtime: Runtime, *, rows: SettlementRows, settled_from: Time | None = None, settled_to: Time | None = None
) -> Reconciliation:
    """Compare rows of a settlement file with the payments and refunds here. Nothing is changed.

    What is settled or reversed here, but not in the file, is looked for in a period: from `settled_from` to the
    time before `settled_to`, by default from the first end of a payment or refund of the file to the last one.
    """
    is_empty = settled_from is not None and settled_to is not None and settled_from >= settled_to
    has_period = settled_from is not None and settled_to is not None
    fields.require(
        [
            ("to", "has to be later than from" if is_empty else None),
            ("rows", None if rows or has_period else "has to have a row, or give from and to"),
        ]
    )
    with closing(RowBook()) as book:
        errors = []
        for number, row in enumerate(rows):
            earlier = book.add(Row(number, row.key, row.amount, row.currency, row.outcome))
            errors += [
                (f"rows.{number}.key", None if earlier is None else f"is that of rows.{earlier}, too"),
                (f"rows.{number}.outcome", outcome_error(row.key, row.outcome)),
            ]
        fields.require(errors)
        # One at a time: each reads many payments at once.
        async with runtime.reconciling:
            return await Reconciler(
                runtime.store, book, settled_from, settled_to, entries_max=ENTRIES_MAX
            ).reconcile()
