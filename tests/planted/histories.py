"""Breakages of what is read of history, of restored archives, and of the audit across cuts."""

from planted.breakage import Breakage, lua, storage

STORAGE = "tests/unit/storage"
DAMAGE = f"{STORAGE}/test_damage_across_cuts.py"
HISTORY = f"{STORAGE}/archive/test_history.py"
READS = f"{STORAGE}/archive/test_trimmed_reads.py"
RESTORES = f"{STORAGE}/archive/test_trimmed_restores.py"
SAME_READS = f"{READS}::test_reads_return_the_same_before_and_after_entries_left_the_store[fake]"

HISTORIES = (
    Breakage(
        "searches-end-at-the-cut",
        "A search goes on in the archive.",
        (lua("shared/search", "is_trimmed and earlier(cursor, following(trimmed_to)) or ''", "''"),),
        (
            SAME_READS,
            f"{READS}::test_lists_that_began_before_entries_left_the_store_go_on_in_its_archive[fake]",
        ),
    ),
    Breakage(
        "journal-ends-at-the-cut",
        "Trimmed entries of the journal are read from the archive.",
        (storage("partition", "and after < trimmed.to:", "and after < after:"),),
        (SAME_READS,),
    ),
    Breakage(
        "reference-without-its-entry",
        "A deposit whose reference is used names the entry, also a trimmed one.",
        (storage("partition", 'isinstance(result.details.get("entry"), str)', "result is None"),),
        (SAME_READS,),
    ),
    Breakage(
        "texts-in-place-of-numbers",
        "PostgreSQL gets numbers for the positions of entries.",
        (
            storage(
                "archive/archive",
                '(CAST(${number} AS BIGINT), CAST(${number + 1} AS BIGINT))"',
                '(${number}, ${number + 1})"',
            ),
        ),
        (f"{HISTORY}::test_statements_of_history_run_on_both_databases[postgresql]",),
    ),
    Breakage(
        "history-of-another-store",
        "The archive of another store is not read.",
        (
            storage(
                "archive/history",
                "self.archive.bind(self._meta, creates=False)",
                "self.archive.database.open(creates=False)",
            ),
        ),
        (f"{HISTORY}::test_the_archive_of_another_store_is_not_read[fake]",),
    ),
    Breakage(
        "history-made-for-reading",
        "An archive that is only read is not made.",
        (storage("archive/history", ", creates=False", ""),),
        (f"{HISTORY}::test_a_place_without_an_archive_is_not_read_and_stays_empty[fake]",),
    ),
    Breakage(
        "restored-archive-without-its-checkpoint",
        "An archive that was restored gets the checkpoint that it lacks.",
        (
            storage(
                "archive/trimmer",
                "if found.trimmed_to > BEGINNING and not await has_checkpoint(",
                "if not found and not await has_checkpoint(",
            ),
        ),
        (f"{RESTORES}::test_a_backup_gets_its_checkpoint_also_while_nothing_more_can_leave",),
    ),
    Breakage(
        "restored-archive-waits-for-a-trim",
        "An archive gets the checkpoint that it lacks also while no entry can leave.",
        (storage("archive/trimmer", "is_wanted=is_lost)", "is_wanted=False)"),),
        (f"{RESTORES}::test_a_backup_gets_its_checkpoint_also_while_nothing_more_can_leave",),
    ),
    Breakage(
        "archive-with-a-gap",
        "An archive that lacks trimmed entries is refused.",
        (storage("archive/archiver", "if archived.position < claim.trimmed_to:", "if not claim:"),),
        (
            f"{RESTORES}::test_a_backup_that_ends_before_the_cut_is_refused",
            f"{RESTORES}::test_a_new_archive_is_refused",
        ),
    ),
    Breakage(
        "ended-records-not-audited",
        "Records that ended before the cut are compared with the archive.",
        (storage("audit/auditor", "await self._compare_ended(ended)", "pass"),),
        (
            f"{DAMAGE}::test_a_changed_payment_is_found[paid-amount-499]",
            f"{DAMAGE}::test_a_changed_invoice_is_found",
            f"{DAMAGE}::test_a_row_of_the_archive_that_was_removed_or_changed_is_found",
        ),
    ),
    Breakage(
        "archive-unverified-in-a-trimmed-part",
        "The fold from the first entry compares each digest.",
        (storage("archive/verify", "!= kept:", "== '':"),),
        (f"{DAMAGE}::test_a_full_audit_finds_damage_in_trimmed_history",),
    ),
    Breakage(
        "history-of-a-closed-store",
        "A store that is closed reads no archive any more.",
        (storage("store", "each.client = each.history = None", "each.client = None"),),
        (f"{HISTORY}::test_a_closed_store_has_no_history",),
    ),
)
