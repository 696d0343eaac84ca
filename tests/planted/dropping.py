"""Breakages of records that leave a store, and of what reads through to the archive."""

from planted.breakage import Breakage, lua, storage

DROP = "tests/unit/storage/test_drop_records.py"
REFERENCES = "tests/unit/storage/test_used_references.py"
RESTORED = "tests/unit/storage/test_restored_records.py"
DROPPED = "tests/unit/storage/archive/test_dropped_records.py"

DROPPING = (
    Breakage(
        "used-reference-forgotten",
        "The digest of a paid invoice's reference stays when the invoice leaves.",
        (lua("settle_references", "        add_used(digest)", "        local _ = digest"),),
        (
            f"{REFERENCES}::test_the_reference_of_a_paid_invoice_is_used_for_ever[fake-none]",
            f"{REFERENCES}::test_a_reference_is_refused_while_its_invoice_was_not_dropped_yet[fake]",
        ),
    ),
    Breakage(
        "digest-found-across-two",
        "A digest is found only where one begins.",
        (lua("shared/used_references", "not place or (place - 1) % DIGEST_BYTES == 0", "true"),),
        (f"{REFERENCES}::test_a_digest_across_two_others_is_not_found[fake]",),
    ),
    Breakage(
        "paid-reference-freed",
        "A reference is freed with an invoice that was not paid, not with a paid one.",
        (storage("archive/dropping", '"1" if is_paid(name, fields) else "0"', '"0"'),),
        (
            f"{REFERENCES}::test_the_reference_of_a_paid_invoice_is_used_for_ever[fake-part]",
            f"{REFERENCES}::test_a_reference_is_never_used_twice_while_its_invoice_leaves[fake]",
        ),
    ),
    Breakage(
        "void-reference-used-up",
        "The reference of a void invoice is free after it left.",
        (storage("archive/dropping", '"1" if is_paid(name, fields) else "0"', '"1"'),),
        (f"{REFERENCES}::test_the_references_of_invoices_that_were_not_paid_are_free[fake]",),
    ),
    Breakage(
        "changed-payment-dropped",
        "A payment that changed since the archive read it stays.",
        (lua("drop_records", "or own_version ~= version ", ""),),
        (
            f"{DROP}::test_a_payment_of_another_version_stays[fake--1]",
            f"{DROP}::test_a_payment_of_another_version_stays[fake-1]",
        ),
    ),
    Breakage(
        "payment-on-the-agenda-dropped",
        "A payment with work to do stays.",
        (lua("drop_records", "or redis.call('ZSCORE', key('agenda'), id) then", "then"),),
        (f"{DROP}::test_a_payment_on_the_agenda_stays[fake]",),
    ),
    Breakage(
        "unconfirmed-payment-dropped",
        "A payment that took no money ends by itself.",
        (lua("drop_records", "or not paid_at ", ""),),
        (f"{DROP}::test_a_payment_that_ended_unconfirmed_stays[fake-failed]",),
    ),
    Breakage(
        "invoice-of-another-payment-dropped",
        "With a payment leaves the invoice that it paid, not one that another pays.",
        (lua("drop_records", "if owner and paying == id then", "if owner then"),),
        (f"{DROP}::test_an_invoice_of_another_payment_stays[fake]",),
    ),
    Breakage(
        "restored-over-a-record",
        "A restored record never replaces one that is there.",
        (lua("restore_records", "if not exists(kind, records[i]) then", "if kind then"),),
        (f"{RESTORED}::test_a_record_that_is_there_is_never_overwritten[fake]",),
    ),
    Breakage(
        "restored-for-ever",
        "A restored record goes by itself.",
        (
            lua(
                "restore_records",
                "        redis.call('PEXPIRE', key(kind, records[i]), RESTORED_MS)\n",
                "",
            ),
        ),
        (f"{RESTORED}::test_a_record_is_restored_for_ten_seconds_with_its_pair[fake-payment]",),
    ),
    Breakage(
        "refunded-payment-expires",
        "A refund keeps the payment that was restored for it.",
        (lua("begin_refund", "redis.call('PERSIST', key('payment', payment_id))\n", ""),),
        (f"{RESTORED}::test_a_refund_keeps_a_restored_payment_and_its_invoice[fake-10]",),
    ),
    Breakage(
        "refunded-payment-unlisted",
        "A restored payment that is refunded is in the lists of its user again.",
        (lua("begin_refund", "redis.call('ZADD', key('payments', payment.user), 0, payment_id)\n", ""),),
        (f"{RESTORED}::test_a_refund_keeps_a_restored_payment_and_its_invoice[fake-10]",),
    ),
    Breakage(
        "lists-end-at-the-cut",
        "The lists of a user go on with the records that left.",
        (
            storage(
                "reading_through",
                "        if not ids:\n            return reply\n        await self._restore(trimmed, ids)",
                "        if ids:\n            return reply\n        await self._restore(trimmed, ids)",
            ),
        ),
        (f"{DROPPED}::test_what_left_is_in_either_kind_of_archive[sqlite-1]",),
    ),
    Breakage(
        "missing-while-the-archive-is-away",
        "An id is not missing while the archive that may have it is away.",
        (
            storage(
                "partition",
                "        except Fault as fault:\n            result = fault\n",
                "        except Fault:\n            pass\n",
            ),
        ),
        (
            f"{RESTORED}::test_without_the_archive_an_unknown_id_is_not_missing_once_records_left[fake]",
            f"{DROPPED}::test_a_file_that_was_removed_makes_what_left_unavailable",
        ),
    ),
    Breakage(
        "missing-while-another-restores",
        "A record that another call restores at the same time is found.",
        (
            storage(
                "reading_through",
                "                await self._source.restore(records)\n            restored += len(records)\n",
                "                restored += await self._source.restore(records)\n",
            ),
        ),
        (f"{RESTORED}::test_calls_at_the_same_time_all_find_a_record_that_left[fake]",),
    ),
    Breakage(
        "record-of-another-user-restored",
        "An id of another user brings nothing back.",
        (storage("reading_through", 'if user_id in (None, fields["user"])', 'if user_id != ""'),),
        (f"{RESTORED}::test_a_record_of_another_user_is_not_restored[fake]",),
    ),
)
