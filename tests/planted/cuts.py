"""Breakages of the steps in which a journal is trimmed, and of what is at its cut."""

from planted.breakage import Breakage, lua, storage

KILLS = (
    "tests/faults/test_trim_kills.py::"
    "test_a_trimmer_that_is_killed_anywhere_leaves_all_history_to_be_read_and_the_next_goes_on"
)
KILLS_BESIDE_THE_STORE, KILLS_OF_WRITES = f"{KILLS}[sqlite-the_store]", f"{KILLS}[sqlite-what_is_written]"
STORE = "tests/unit/storage/archive/test_trimmed_store.py"
SAME = f"{STORE}::test_a_trimmed_store_reads_as_before_and_its_books_are_whole_wherever_it_is_cut"
WHOLE = f"{STORE}::test_an_archive_that_lacks_what_left_the_store_is_refused_and_stays_empty"

TRIM_REST = "redis.call('XTRIM', journal, 'MINID', entry_id)"
BEFORE_ROWS = "    number, digest = 0, _first_digest(partition, checkpoint)\n"
ADD_CHECKPOINT = (
    "    added = (partition, *end.position, end.entries, end.chain, before.digest, checkpoint.digest)\n"
    "    is_added = await archive.database.write([Change(ADD, [added], is_condition=True)])\n"
)
ADD_EARLY = (
    "    async for texts in _texts_of(ledger):\n        _add_to(digest, texts)\n"
    "    checkpoint = checkpoint._replace(digest=digest.hexdigest())\n"
    f"{ADD_CHECKPOINT}"
    "    digest = _first_digest(partition, checkpoint)\n"
)
"""Computes the digest of a checkpoint and adds it, then does what the rest expects."""
BACKWARDS = """(entry_ms, entry_number) < ($2, $3)"
            " AND (entry_ms, entry_number) <= ($4, $5)"""

CUTS = (
    Breakage(
        "cut-recorded-after-the-trim",
        "The store records the cut before entries leave.",
        (
            lua("trim_journal", "redis.call('HSET',", "local record = {'HSET',"),
            lua("trim_journal", "int(now + ARCHIVE_MS))", "int(now + ARCHIVE_MS)}"),
            lua("trim_journal", TRIM_REST, f"{TRIM_REST}\nredis.call(unpack(record))"),
        ),
        (KILLS_BESIDE_THE_STORE,),
    ),
    Breakage(
        "checkpoint-before-its-rows",
        "A checkpoint is added after its rows.",
        (
            storage("archive/checkpoints", ADD_CHECKPOINT, ""),
            storage("archive/checkpoints", BEFORE_ROWS, f"{BEFORE_ROWS}{ADD_EARLY}"),
        ),
        (KILLS_OF_WRITES,),
    ),
    Breakage(
        "rows-of-a-killed-trimmer-stay",
        "A trimmer removes rows of a checkpoint that was not added.",
        (
            storage(
                "archive/checkpoints",
                '    await _remove_rows(archive, partition, f"{AT} = ($2, $3)", end.position)\n',
                "",
            ),
        ),
        (KILLS_OF_WRITES,),
    ),
    Breakage(
        "rows-in-use-removed",
        "The rows of the last checkpoint stay.",
        (storage("archive/checkpoints", 'f"{AT} < ($2, $3)"', 'f"{AT} <= ($2, $3)"'),),
        (KILLS_BESIDE_THE_STORE,),
    ),
    Breakage(
        "checkpoint-from-a-stale-fold",
        "A checkpoint is folded up to its own position.",
        (
            storage(
                "archive/trimmer",
                "number, position, BATCH, end.position)",
                "number, position, BATCH, Position(end.position.at_ms - 1, 0))",
            ),
        ),
        (f"{SAME}[deposit]", f"{SAME}[refund]", KILLS_OF_WRITES),
    ),
    Breakage(
        "checkpoint-behind-the-first-one",
        "A checkpoint is folded behind the last one.",
        (
            storage(
                "archive/checkpoints",
                "ORDER BY entry_ms DESC, entry_number DESC LIMIT 1",
                "ORDER BY entry_ms LIMIT 1",
            ),
        ),
        (f"{SAME}[deposit]",),
    ),
    Breakage(
        "checkpoint-behind-none",
        "A checkpoint is folded from the rows of the one before.",
        (
            storage(
                "archive/trimmer",
                "            await load_checkpoint(self._archive, number, before, ledger)\n",
                "",
            ),
        ),
        (f"{SAME}[deposit]",),
    ),
    Breakage(
        "settled-sums-left-out",
        "A checkpoint has the sums of the payments that ended.",
        (
            storage(
                "audit/snapshot", "WHERE payments > 0 ORDER BY currency", "WHERE payments < 0 ORDER BY currency"
            ),
        ),
        (f"{SAME}[deposit]",),
    ),
    Breakage(
        "missing-history-unseen-at-the-start",
        "The start finds out that an archive lacks what left the store.",
        (
            storage(
                "archive/archiver", "            self._require_all(partition.number, position, claim)\n", ""
            ),
        ),
        (f"{WHOLE}[True]",),
    ),
    Breakage(
        "entry-at-the-cut-listed-twice",
        "The entry at the cut is read from the archive only.",
        (
            lua("shared/search", "first = '(' .. trimmed_to", "first = trimmed_to"),
            lua("shared/search", "earlier(cursor, following(trimmed_to))", "following(trimmed_to)"),
        ),
        (f"{SAME}[invoice]", f"{SAME}[payment]"),
    ),
    Breakage(
        "entry-at-the-cut-left-out",
        "A search in the archive begins with the entry at the cut.",
        (storage("archive/archive", BACKWARDS, BACKWARDS.replace("<=", "<")),),
        (f"{SAME}[invoice]",),
    ),
)
