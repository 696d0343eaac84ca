"""The versions of payments and invoices: by them whoever hears of changes can order them and see gaps.

A payment's first entry of the journal is version 1, and every further one counts. What goes straight says no
version, see shared/payment.lua; an invoice can only be voided.
"""

from __future__ import annotations

from collections.abc import Mapping

STRAIGHT_ENTRIES = {
    "payment.started": 1,
    "payment.processing": 2,
    "payment.succeeded": 3,
    "invoice.created": 1,
    "invoice.voided": 2,
}
"""The versions of entries that say none."""
STRAIGHT_RECORDS = {"requires_confirmation": 1, "processing": 2, "succeeded": 3}
"""The versions of payments whose records say none, by status."""


def entry_version(entry_type: str, said: Mapping[str, str]) -> int:
    """Answer the version of what an entry is about, once it is written.

    Raises:
        KeyError: the entry has none.

    """
    return int(said["version"]) if "version" in said else STRAIGHT_ENTRIES[entry_type]


def record_version(payment: Mapping[str, str]) -> int | None:
    """Answer the version of a payment's record; None for one that should say it and does not."""
    if "version" in payment:
        return int(payment["version"])
    return STRAIGHT_RECORDS.get(payment.get("status", ""))
