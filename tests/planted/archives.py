"""Breakages of the archive."""

from planted.breakage import Breakage, lua, storage

ARCHIVER = "tests/unit/storage/archive/test_archiver.py"
ARCHIVE = "tests/unit/storage/archive/test_archive.py"
HISTORIES = "tests/unit/storage/archive/test_archiver_histories.py"
BEHIND = "test_a_chain_that_was_computed_anew_behind_its_store_is_refused_where_that_recorded_its_end"
VERIFY = "tests/unit/storage/archive/test_verify.py"
SQLITE = "tests/unit/storage/archive/test_sqlite.py"
SERVICE = "tests/feature/test_archiving.py"

ARCHIVES = (
    Breakage(
        "archived-without-a-comparison",
        "Entries are added behind the position that they were read behind, or not at all.",
        (storage("archive/archive", "partition = $1 AND chain = $2", "partition = $1 OR chain = $2"),),
        (f"{ARCHIVER}::test_an_entry_that_another_process_added_meanwhile_is_not_added_again[fake]",),
    ),
    Breakage(
        "not-read-back",
        "An entry counts as archived after it was read back.",
        (
            storage(
                "archive/archive",
                "if [tuple(row) for row in kept] != [(row[1], row[2], row[-1]) for row in rows]:",
                "if not kept:",
            ),
        ),
        (f"{ARCHIVE}::test_entries_that_are_not_there_after_their_commit_are_reported[sqlite]",),
    ),
    Breakage(
        "earlier-record-replaces-a-later-one",
        "A record that was read earlier never replaces one that was read later.",
        (storage("archive/archive", "(excluded.read_ms, excluded.read_number) >=", "(1, 1) <>"),),
        (f"{ARCHIVE}::test_a_record_that_was_read_earlier_never_replaces_a_later_one[sqlite]",),
    ),
    Breakage(
        "invoice-of-a-payment-forgotten",
        "With a payment, its invoice is archived again.",
        (storage("archive/archiver", 'each.fields["invoice"] for each in payments', "each.id for each in ()"),),
        (f"{ARCHIVER}::test_a_record_is_archived_as_its_last_change_left_it[fake]",),
    ),
    Breakage(
        "chain-without-the-fields",
        "The digest of an entry depends on its fields.",
        (storage("archive/rows", "entry_type, subject, fields))", "entry_type, subject))"),),
        (f"{VERIFY}::test_an_event_that_was_changed_is_named",),
    ),
    Breakage(
        "foreign-archive-taken",
        "The archive of another store is refused.",
        (storage("archive/archive", "if found != ours and not", "if found is None and not"),),
        (f"{ARCHIVER}::test_the_archive_of_another_store_is_refused[fake]",),
    ),
    Breakage(
        "restored-store-taken",
        "A store without the last archived entry is refused.",
        (storage("archive/archiver", "if not entries or entries[0].id != str(position):", "if not entries:"),),
        (
            f"{ARCHIVER}::test_a_store_that_is_older_than_its_archive_is_refused[fake]",
            f"{HISTORIES}::test_a_store_that_is_rolled_back_between_two_batches_is_refused",
        ),
    ),
    Breakage(
        "another-chain-taken",
        "The chain of the archive is the one that the store recorded.",
        (storage("archive/archiver", "if kept is None or kept[-1] != claim.chain:", "if kept is None:"),),
        (
            f"{HISTORIES}::test_a_chain_that_was_computed_anew_is_refused_also_ahead_of_the_record_of_the_store",
            f"{HISTORIES}::{BEHIND}",
        ),
    ),
    Breakage(
        "chains-compared-at-the-end-only",
        "An archive that is behind its store is compared where the store recorded its chain.",
        (storage("archive/archiver", 'str(recorded_to) if position < recorded_to else "+"', '"+"'),),
        (f"{HISTORIES}::{BEHIND}",),
    ),
    Breakage(
        "new-archive-stays-empty",
        "A new archive gets all that the store has, also while nothing happens there.",
        (lua("claim_archive", "position() == archived_to and archived_to ==", "position() =="),),
        (f"{HISTORIES}::test_a_new_archive_in_the_place_of_one_takes_up_all_that_the_store_has[True]",),
    ),
    Breakage(
        "history-taken-over-unseen",
        "The incarnation of a store is taken over after its history was compared.",
        (
            storage(
                "archive/archiver",
                "        await self.compare()\n        await self._archive.follow(self._meta)\n",
                "        await self._archive.follow(self._meta)\n        await self.compare()\n",
            ),
        ),
        (f"{HISTORIES}::test_a_store_of_another_history_does_not_take_the_archive_over",),
    ),
    Breakage(
        "archiver-keeps-a-useless-claim",
        "An archiver that fails gives its claim up.",
        (
            storage(
                "archive/archiver",
                "                await partition.run(RecordArchived(number, claim.token))",
                "                pass",
            ),
        ),
        (f"{HISTORIES}::test_an_archiver_that_fails_leaves_the_claim_to_others",),
    ),
    Breakage(
        "verified-without-a-bound",
        "A verification beside an archiver compares one position of the archive.",
        (storage("archive/verify", "position, BATCH, end)", "position, BATCH)"),),
        (f"{HISTORIES}::test_verification_beside_an_archiver_is_clean",),
    ),
    Breakage(
        "archived-by-two-at-once",
        "One process archives a partition at a time.",
        (lua("claim_archive", "remaining_ms > 0 and remaining_ms <= ARCHIVE_MS", "false"),),
        (f"{ARCHIVER}::test_one_process_archives_a_partition_at_a_time[fake]",),
    ),
    Breakage(
        "archive-claimed-for-ever",
        "The claim of a process that ended without giving it up ends.",
        (lua("claim_archive", "remaining_ms > 0 and", "claimed_until and"),),
        (f"{ARCHIVER}::test_the_claim_of_a_process_that_vanished_ends",),
    ),
    Breakage(
        "archive-holds-up-the-start",
        "An archive that is away holds up no start.",
        (
            storage(
                "archive/sqlite",
                'raise ArchiveUnavailable(f"The archive {self._path}: {error}")',
                'raise ArchiveUnfit(f"The archive {self._path}: {error}")',
            ),
        ),
        (f"{SERVICE}::test_payments_go_on_while_the_archive_is_away",),
    ),
    Breakage(
        "archive-takes-all-the-time",
        "The archiver of a service leaves nine tenths of the time to payments.",
        (storage("archive/archiver", "            if rests:\n", "            if not rests:\n"),),
        (f"{ARCHIVER}::test_an_archiver_beside_payments_rests_after_each_batch",),
    ),
)
