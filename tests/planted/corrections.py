"""Breakages of the rules about partial refunds, withdrawals, adjustments and the references of deposits."""

from planted.breakage import Breakage, lua, storage

REFUNDS = "tests/unit/storage/test_partial_refunds.py"
CHANGES = "tests/unit/storage/test_balance_changes.py"
AUDIT = "tests/unit/storage/test_audit.py"

CORRECTIONS = (
    Breakage(
        "refund-of-more-than-is-left",
        "Refunds of a payment sum to at most its amount.",
        (lua("begin_refund", "tonumber(amount) > tonumber(left) then", "tonumber(amount) > 2 * left then"),),
        (f"{REFUNDS}::test_more_than_is_left_is_refused_and_nothing_changes[fake]",),
    ),
    Breakage(
        "refund-of-a-part-while-another-runs",
        "Refunds of a payment are done one at a time, and a repeat is no other refund.",
        (
            lua(
                "begin_refund",
                "if amount == '' and payment.refund_amount == left then",
                "if true then",
            ),
        ),
        (
            f"{REFUNDS}::test_refunds_are_done_one_at_a_time[fake-400-400-refund_in_progress]",
            f"{REFUNDS}::test_refunds_are_done_one_at_a_time[fake-400-None-refund_in_progress]",
        ),
    ),
    Breakage(
        "part-closes-the-payment",
        "A payment is refunded only when nothing is left of it.",
        (
            lua(
                "shared/credit",
                "local is_whole = refunded_amount(refunds) == tonumber(payment.amount)",
                "local is_whole = true",
            ),
        ),
        (f"{REFUNDS}::test_a_payment_is_refunded_in_parts_until_nothing_is_left[fake]",),
    ),
    Breakage(
        "whole-credited-for-a-part",
        "A refund credits its own amount.",
        (
            lua(
                "shared/credit",
                "id, payment, payment.refund_amount,\n",
                "id, payment, payment.amount,\n",
            ),
        ),
        (f"{REFUNDS}::test_a_payment_is_refunded_in_parts_until_nothing_is_left[fake]",),
    ),
    Breakage(
        "failed-refund-uses-up-what-is-left",
        "A refund that failed leaves what was left.",
        (lua("shared/refunds", "if refund.status == 'done' then", "if refund.status ~= 'pending' then"),),
        (f"{REFUNDS}::test_a_refund_that_fails_leaves_what_was_left[fake]",),
    ),
    Breakage(
        "late-verdict-taken-for-the-next-refund",
        "A verdict counts for the refund under whose claim it was asked for, and for no later one.",
        (lua("complete_payment", " or current ~= claim then", " then"),),
        (f"{REFUNDS}::test_a_late_verdict_of_an_earlier_refund_is_never_that_of_a_later_one",),
    ),
    Breakage(
        "withdrawn-below-zero",
        "A withdrawal or an adjustment never takes more than the balance.",
        (lua("change_balance", "tonumber(wallet.balance) + tonumber(amount) < 0 then", "false then"),),
        (f"{CHANGES}::test_the_balance_never_goes_below_zero",),
    ),
    Breakage(
        "withdrawal-that-may-still-come-back",
        "Money that was withdrawn takes no room in the wallet any more.",
        (
            lua(
                "change_balance",
                "redis.call('HINCRBY', key('wallet', wallet_id), 'ledger', amount)",
                "local back = kind == 'deposited' and amount or '0'\n"
                "redis.call('HINCRBY', key('wallet', wallet_id), 'ledger', back)",
            ),
        ),
        (f"{CHANGES}::test_a_correction_has_an_entry_with_its_note_and_operator",),
    ),
    Breakage(
        "reference-deposited-twice",
        "A reference is deposited once in a wallet, for ever.",
        (lua("change_balance", "if entry then\n", "if false then\n"),),
        (f"{CHANGES}::test_a_reference_is_deposited_once_in_a_wallet_whatever_the_call[fake]",),
    ),
    Breakage(
        "audit-ignores-references",
        "The audit compares the references of deposits with the journal.",
        (storage("audit/checks", "for name in sorted({*deposits, *referred})", "for name in ()"),),
        (f"{CHANGES}::test_the_audit_finds_a_reference_that_is_not_kept_or_kept_twice[fake]",),
    ),
)
