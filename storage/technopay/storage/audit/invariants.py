"""The names of the invariants, and the form of a difference."""

from typing import Any

from technopay.engine.models import Difference

BALANCE = "balance_is_sum_of_entries"
"""A wallet's balance is the sum of its entries, and never below zero; each reference is used once in it."""
DEBIT = "every_debit_ends_once"
"""A payment has at most one debit, which is settled, in flight, set aside, or given back once in full when
settlement failed. Its refunds sum to at most its amount, and each one done has exactly one credit."""
INVOICE = "one_payment_per_invoice"
"""An invoice is paid exactly when one payment for it succeeded, with its amount; never two."""
LIMIT = "limit_is_sum_of_debits"
"""The used amount of a limit is the sum of its debits not given back, and never above the limit."""
SLICES = "slices_add_up"
"""The slices of a limit are granted by its home, add up to no more than the limit, and hold what was used."""
MONEY = "no_money_made_or_lost"
"""Deposits + adjustments - withdrawals are balances + settled payments net of reversals + amounts in flight."""
CHANGE = "every_change_has_its_event"
"""Every change of a record has its entry in the journal, and the other way around."""
MESSAGE = "every_event_is_told"
"""Every event is delivered, waiting or dead."""
READABLE = "every_record_can_be_read"
"""A record has the right type and valid content."""

TEXT_LENGTH_MAX = 200


def differ(invariant: str, subject: str, what: str, expected: Any, found: Any) -> Difference:
    return Difference(
        invariant=invariant,
        subject=subject,
        what=what,
        expected=str(expected)[:TEXT_LENGTH_MAX],
        found=str(found)[:TEXT_LENGTH_MAX],
    )
