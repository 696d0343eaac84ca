"""Breakages of trimming and of checkpoints."""

from planted.breakage import Breakage, lua, storage

STORAGE = "tests/unit/storage"
TRIMMABLE = f"{STORAGE}/test_trimmable.py"
ACROSS = f"{STORAGE}/test_audit_across_cuts.py"
DAMAGE = f"{STORAGE}/test_damage_across_cuts.py"
DATA = f"{STORAGE}/server/test_data_check.py"
TRIMMER = f"{STORAGE}/archive/test_trimmer.py"
CHECKPOINTS = f"{STORAGE}/archive/test_checkpoints.py"
RESTORES = f"{STORAGE}/archive/test_trimmed_restores.py"
REFUNDS = f"{CHECKPOINTS}::test_a_checkpoint_between_any_steps_of_refunds_does_not_depend_on_earlier_ones"
LATER = "int(now + 9000) .. '-0'"

CONDITIONS = (
    Breakage(
        "trimmed-before-the-copy",
        "An entry leaves the store after it was archived.",
        (lua("shared/trimmable", "fields('archive', nil, 'archived_to') or '0-0'", LATER),),
        (f"{TRIMMABLE}::test_what_is_not_archived_stays[fake]",),
    ),
    Breakage(
        "trimmed-before-the-relay",
        "An entry leaves the store after it was relayed.",
        (lua("shared/trimmable", "fields('relay', nil, 'cursor') or '0-0'", LATER),),
        (f"{TRIMMABLE}::test_what_is_not_relayed_stays[fake]",),
    ),
    Breakage(
        "trimmed-before-a-webhook",
        "An entry leaves the store after it was read for each webhook.",
        (lua("shared/trimmable", "fields('webhook', webhook_id, 'cursor') or least", "least"),),
        (
            f"{TRIMMABLE}::test_what_a_webhook_has_not_read_stays",
            f"{TRIMMER}::test_a_webhook_that_is_behind_keeps_its_entries",
        ),
    ),
    Breakage(
        "webhooks-unknown-to-the-trimmer",
        "The trimmer names all webhooks of the store.",
        (storage("archive/trimmer", 'if each != "version"', "if not each"),),
        (f"{TRIMMER}::test_a_webhook_that_is_behind_keeps_its_entries",),
    ),
    Breakage(
        "trimmed-too-young",
        "An entry stays in the store for some days.",
        (lua("shared/trimmable", "int(math.max(0, now - keep_ms)) .. '-0'", LATER),),
        (
            f"{TRIMMABLE}::test_what_is_too_young_stays[fake]",
            f"{TRIMMER}::test_a_run_of_the_archiver_trims_what_is_older_than_the_days",
        ),
    ),
    Breakage(
        "kept-for-hours",
        "Messages and webhooks need entries for some days.",
        (storage("archive/trimmer", "if keep_days < KEEP_DAYS_MIN:", "if keep_days < -5:"),),
        (f"{TRIMMER}::test_entries_are_kept_for_a_week_at_least",),
    ),
    Breakage(
        "trimmed-before-a-message",
        "An entry that a message in the store needs stays.",
        (storage("archive/trimmer", "min(found.bound, Position(needed_ms - 1, LAST.number))", "found.bound"),),
        (
            f"{STORAGE}/archive/test_trimmed_restores.py::test_entries_from_the_first_one_on_that_a_message_needs_stay",
        ),
    ),
    Breakage(
        "trimmed-under-a-lost-claim",
        "A trimmer whose claim is lost trims nothing.",
        (lua("trim_journal", "if current ~= claim then", "if false then"),),
        (f"{TRIMMABLE}::test_a_lost_claim_trims_nothing[fake]",),
    ),
    Breakage(
        "two-trimmers",
        "One process at a time trims a partition.",
        (lua("claim_trim", "if is_claimed and trimmer ~= process then", "if false then"),),
        (
            f"{TRIMMABLE}::test_a_lost_claim_trims_nothing[fake]",
            f"{TRIMMER}::test_one_process_trims_a_partition_at_a_time",
        ),
    ),
    Breakage(
        "cut-at-an-unknown-entry",
        "The entry of a checkpoint is in the journal that is trimmed behind it.",
        (lua("trim_journal", "or #redis.call('XRANGE', journal, entry_id, entry_id) == 0", ""),),
        (f"{TRIMMABLE}::test_an_entry_that_the_journal_lacks_is_no_cut[fake]",),
    ),
    Breakage(
        "cut-goes-back",
        "The cut of a journal never goes back.",
        (lua("trim_journal", "or trimmed_to and is_after(trimmed_to, entry_id)", ""),),
        (f"{TRIMMABLE}::test_a_cut_never_goes_back[fake]",),
    ),
    Breakage(
        "last-entry-trimmed",
        "The entry of a checkpoint stays: the end of a journal is known, and an archiver goes on behind it.",
        (lua("trim_journal", "'MINID', entry_id)", "'MINID', following(entry_id))"),),
        (f"{TRIMMABLE}::test_the_last_entry_of_a_journal_always_stays[fake]",),
    ),
    Breakage(
        "unbounded-trim",
        "Entries leave the store in bounded steps.",
        (lua("trim_journal", "'LIMIT', limit", "'LIMIT', 0"),),
        (f"{TRIMMABLE}::test_entries_leave_in_bounded_steps[fake]",),
    ),
    Breakage(
        "trim-claimed-for-nothing",
        "Nothing is written while no entry can leave the store.",
        (lua("claim_trim", "if is_wanted == '0' and", "if false and"),),
        (f"{TRIMMABLE}::test_nothing_is_written_while_no_entry_can_leave[fake]",),
    ),
    Breakage(
        "cut-counted-as-an-entry",
        "The entry of the checkpoint, which stays, is no reason to claim a journal.",
        (lua("claim_trim", "first = oldest[2]", "first = oldest[1]"),),
        (
            f"{TRIMMABLE}::test_the_last_entry_of_a_journal_always_stays[fake]",
            f"{TRIMMER}::test_without_news_nothing_is_written",
        ),
    ),
    Breakage(
        "trimmed-entry-lost",
        "An entry that was trimmed is no loss.",
        (lua("record_loss", "trimmed_to and not is_after(entry_id, trimmed_to)", "false"),),
        (f"{TRIMMABLE}::test_an_entry_that_was_trimmed_is_no_loss[fake]",),
    ),
    Breakage(
        "closed-for-a-trimmed-entry",
        "A store is not closed because an entry that was read from its archive is not in it.",
        (storage("server/data_check", "await self._is_lost(request, watermark, seen)", "seen"),),
        (f"{DATA}::test_an_entry_that_left_the_store_for_its_archive_is_no_loss",),
    ),
)
CUTS = (
    Breakage(
        "checkpoint-of-an-older-fold",
        "A payment that ended before a checkpoint is recalled when it is refunded.",
        (
            storage(
                "archive/checkpoints",
                'if each.type == "payment.refunding" and ledger.record("payment", each.subject) is None:',
                "if not each:",
            ),
        ),
        (
            REFUNDS,
            f"{CHECKPOINTS}::test_a_checkpoint_of_a_random_history_does_not_depend_on_earlier_ones",
            f"{ACROSS}::test_refunds_of_payments_that_ended_before_the_cut_are_audited[fake]",
        ),
    ),
    Breakage(
        "recalled-payment-counted-twice",
        "A payment that is recalled leaves the sums of those that ended.",
        (storage("audit/snapshot", "SET payments = payments - 1,", "SET payments = payments,"),),
        (REFUNDS,),
    ),
    Breakage(
        "reference-forgotten-by-a-checkpoint",
        "A checkpoint has the references of deposits.",
        (storage("audit/snapshot", '"deposit ORDER BY', "\"deposit WHERE wallet = '' ORDER BY"),),
        (REFUNDS, f"{ACROSS}::test_books_balance_across_cuts[fake]"),
    ),
    Breakage(
        "paid-invoices-in-a-checkpoint",
        "A checkpoint has only invoices that can still be paid.",
        (storage("audit/snapshot", "AND id NOT IN", "AND '' NOT IN"),),
        (REFUNDS,),
    ),
    Breakage(
        "settled-payments-without-money",
        "The totals include the payments that ended before the cut.",
        (
            storage(
                "audit/ledger",
                "+ coalesce((SELECT amount FROM settled WHERE settled.currency = wallet.currency), 0)",
                "",
            ),
        ),
        (f"{ACROSS}::test_books_balance_across_cuts[fake]",),
    ),
    Breakage(
        "changed-checkpoint-used",
        "A checkpoint whose digest does not follow from its rows is not used.",
        (storage("archive/checkpoints", "if digest.hexdigest() != checkpoint.digest:", "if not digest:"),),
        (
            f"{CHECKPOINTS}::test_a_checkpoint_with_a_changed_row_is_refused",
            f"{DAMAGE}::test_a_changed_checkpoint_is_used_for_no_audit",
            f"{TRIMMER}::test_a_changed_checkpoint_makes_no_other_one",
        ),
    ),
    Breakage(
        "checkpoint-of-another-digest",
        "History is read only from an archive with the checkpoint of the store.",
        (storage("archive/checkpoints", "AND digest = $4", "AND $4 <> ''"),),
        (
            f"{CHECKPOINTS}::test_a_checkpoint_with_another_digest_is_not_the_one_of_the_store",
            f"{DAMAGE}::test_without_the_checkpoint_of_the_store_there_is_no_audit",
            f"{RESTORES}::test_a_backup_that_lacks_several_checkpoints_gives_the_store_another_digest",
        ),
    ),
    Breakage(
        "checkpoint-added-twice",
        "A checkpoint that another process added meanwhile is not added again.",
        (storage("archive/checkpoints", "Change(ADD, [added], is_condition=True)", "Change(ADD, [added])"),),
        (f"{CHECKPOINTS}::test_a_checkpoint_is_added_once",),
    ),
    Breakage(
        "two-checkpoints-behind-one",
        "Checkpoints are one chain.",
        (
            storage(
                "archive/schema",
                ",\n            UNIQUE (partition, digest_before)",
                "",
            ),
        ),
        (f"{CHECKPOINTS}::test_a_checkpoint_is_added_once",),
    ),
    Breakage(
        "checkpoint-not-read-back",
        "A checkpoint counts after its rows were read back.",
        (storage("archive/checkpoints", "if kept.digest() != digest.digest():", "if not kept:"),),
        (f"{CHECKPOINTS}::test_rows_that_are_not_there_after_their_commit_are_no_checkpoint",),
    ),
    Breakage(
        "payment-without-a-row",
        "A payment that is not archived holds the checkpoint up.",
        (
            storage(
                "archive/checkpoints",
                'raise ArchiveUnfit(f"the payment {payment_id} is not archived: it could not be read")',
                "continue",
            ),
        ),
        (f"{CHECKPOINTS}::test_a_payment_without_a_row_holds_the_checkpoint_up",),
    ),
    Breakage(
        "broken-books-trimmed",
        "Books with differences are not trimmed.",
        (storage("archive/trimmer", "if differences:", "if not rows:"),),
        (f"{TRIMMER}::test_books_with_differences_are_not_trimmed",),
    ),
    Breakage(
        "checkpoint-of-changed-events",
        "A checkpoint is computed from events whose chain is whole.",
        (storage("archive/rows", "if chain != kept:", "if not chain:"),),
        (f"{TRIMMER}::test_an_archive_with_a_changed_event_makes_no_checkpoint[False]",),
    ),
    Breakage(
        "checkpoint-of-another-chain",
        "A checkpoint is computed from the chain that the store recorded.",
        (
            storage(
                "archive/trimmer", "if recorded is None or recorded[-1] != found.chain:", "if recorded is None:"
            ),
        ),
        (f"{TRIMMER}::test_an_archive_with_a_changed_event_makes_no_checkpoint[True]",),
    ),
    Breakage(
        "checkpoint-at-another-entry",
        "The entry of a checkpoint is the same in the store and its archive.",
        (storage("archive/trimmer", "if kept != ours:", "if kept is None:"),),
        (f"{TRIMMER}::test_an_archive_with_another_entry_at_the_cut_makes_no_checkpoint",),
    ),
    Breakage(
        "checkpoints-of-minutes",
        "There is one checkpoint a day.",
        (storage("archive/trimmer", "last.position.at_ms >= DAY_MS", "last.position.at_ms > 0"),),
        (f"{TRIMMER}::test_a_checkpoint_is_not_due_within_a_day_of_the_last_one",),
    ),
    Breakage(
        "previous-checkpoint-forgotten",
        "The rows of the checkpoint that the store had before are kept.",
        (storage("archive/trimmer", "min(checkpoint.position, found.trimmed_to)", "checkpoint.position"),),
        (f"{TRIMMER}::test_rows_of_the_last_two_checkpoints_of_the_store_are_kept",),
    ),
    Breakage(
        "trim-claim-not-renewed",
        "A trimmer keeps its claim, and gives up when it is lost.",
        (storage("archive/trimmer", "if await self._claim(partition) is None:", "if self._stopping is None:"),),
        (
            f"{TRIMMER}::test_a_trimmer_that_lost_its_claim_adds_no_checkpoint",
            f"{TRIMMER}::test_a_claim_is_kept_while_a_checkpoint_is_computed",
        ),
    ),
    Breakage(
        "trimmer-does-not-stop",
        "A trimmer stops between two batches.",
        (
            storage(
                "archive/trimmer",
                "                    raise _ClaimLost\n            if self._stopping.is_set():\n"
                "                raise _ClaimLost",
                "                    raise _ClaimLost",
            ),
        ),
        (f"{TRIMMER}::test_the_next_trimmer_goes_on_where_one_stopped",),
    ),
)
TRIMMING = (*CONDITIONS, *CUTS)
