"""Breakages of the conclusions about a store and about a lost reply."""

from planted.breakage import Breakage, engine, lua, storage

FAULTS = "tests/unit/storage/server/test_client_faults.py"
AGAIN = "tests/unit/engine/actors/test_actor_resend.py"
REFERENCES = "tests/unit/storage/test_references.py"
MIGRATION = "tests/feature/test_migration.py"
STEPS = "tests/feature/test_migration_steps.py"
KILLED = "tests/faults/test_migration.py"
FITNESS = "tests/unit/storage/server/test_health_rules.py"
REPLICATION = "tests/unit/storage/server/test_replication.py"
SLICES = "tests/property/test_slices.py::test_no_order_of_messages_passes_a_limit"
PARTITIONED = "tests/unit/storage/partitions/test_partitions.py"
LIMIT_SLICES = "tests/unit/storage/partitions/test_limit_slices.py"
CREATIONS = "tests/unit/storage/partitions/test_creations.py"
HEALTH = "tests/unit/storage/server/test_health.py"
LOSSES = "tests/unit/storage/test_losses.py"
FAILOVERS = "tests/faults/test_failovers.py"
REPLICAS = "tests/faults/test_replicas.py"
OVERRULED = f"{FITNESS}::test_a_store_that_can_lose_or_forget_is_refused_and_can_be_overruled_by_name"

STORE_AND_REPLIES = (
    Breakage(
        "link-repeats-lost-calls",
        "A call whose reply was lost is not sent again behind its asker's back.",
        (
            storage(
                "server/client",
                "        self.send_call(PendingCall(script, pack_call(script, keys, arguments), on_result))\n",
                "        from technopay.engine.errors import OutcomeUnknown\n\n"
                "        tries = [10]\n\n"
                "        def on_reply(reply: Any) -> None:\n"
                "            if isinstance(reply, OutcomeUnknown) and tries[0]:\n"
                "                tries[0] -= 1\n"
                "                self._loop.call_soon(self.send_call, call)\n"
                "            else:\n"
                "                on_result(reply)\n\n"
                "        call = PendingCall(script, pack_call(script, keys, arguments), on_reply)\n"
                "        self.send_call(call)\n",
            ),
        ),
        (f"{FAULTS}::test_a_call_that_may_have_run_is_unknown_even_if_the_store_is_gone_afterwards",),
    ),
    Breakage(
        "lost-reply-means-nothing-happened",
        "A call whose connection was lost may have run: its outcome is unknown.",
        (
            storage(
                "server/connection",
                "call.complete(fault(OutcomeUnknown(), exc))",
                "call.complete(fault(StoreUnavailable(), exc))",
            ),
        ),
        (
            "tests/unit/storage/server/test_connection.py::test_a_cut_loses_what_was_sent_and_refuses_what_was_not",
            f"{FAULTS}::test_a_call_that_may_have_run_is_unknown_even_if_the_store_is_gone_afterwards",
        ),
    ),
    Breakage(
        "late-reply-goes-to-the-next",
        "A reply that comes after its time reaches nobody.",
        (
            storage(
                "server/connection",
                "            self.abort()\n        else:\n",
                "            self._sent.popleft().complete(OutcomeUnknown())\n        else:\n",
            ),
        ),
        (
            "tests/unit/storage/server/test_connection.py::test_a_connection_that_is_overdue_is_aborted_and_a_late_reply_reaches_nobody",
        ),
    ),
    Breakage(
        "shown-before-a-replica-has-it",
        "With a wait for replicas, no reply shows what only the primary has.",
        (storage("server/replication", "        if not is_held(script, reply):\n", "        if reply:\n"),),
        (
            f"{REPLICATION}::test_the_replies_of_a_tick_wait_together_and_later_ones_for_the_next_batch",
            f"{REPLICAS}::test_with_the_primary_lost_no_acknowledged_step_is_lost[valkey-1]",
        ),
    ),
    Breakage(
        "a-wait-without-its-write",
        "A WAIT proves something only behind a write of its own connection.",
        (storage("server/replication", "is_proved = is_written and replicas", "is_proved = replicas"),),
        (f"{REPLICATION}::test_a_write_that_comes_after_its_wait_proves_nothing",),
    ),
    Breakage(
        "weak-replicas-count",
        "A replica that can lose what it acknowledged is refused.",
        (storage("server/health", "        if self._replicas and ask is not None:\n", "        if False:\n"),),
        (f"{REPLICAS}::test_a_replica_that_can_lose_data_is_refused_unless_overruled_by_name",),
    ),
    Breakage(
        "told-before-written",
        "What the settlement service said is told only when it is written down.",
        (
            engine(
                "settlement/settlements",
                "            completion = CompletePayment(payment.id, claim.token, verdict)\n",
                "            ended = 'succeeded' if verdict == 'settled' else 'failed'\n"
                "            self._on_change(payment.model_copy(update={'status': ended}))\n"
                "            completion = CompletePayment(payment.id, claim.token, verdict)\n",
            ),
        ),
        (
            "tests/unit/engine/settlement/test_settlements.py::test_what_cannot_be_written_down_is_left_to_the_agenda",
        ),
    ),
    Breakage(
        "follows-from-the-caller",
        "What follows from an outcome follows also when the caller has left.",
        (
            engine(
                "actors/actor",
                "    if envelope.on_outcome is not None:",
                "    if envelope.on_outcome is not None and not reply.cancelled():",
            ),
        ),
        (f"{AGAIN}::test_a_lost_reply_is_asked_for_again_and_followed_when_the_asker_has_left",),
    ),
    Breakage(
        "claim-not-renewed",
        "A claim is renewed while a call runs that needs longer than the claim lasts.",
        (engine("claims", ">= CLAIM_S[claim.kind] / 3", ">= CLAIM_S[claim.kind] * 3"),),
        ("tests/unit/engine/settlement/test_settlements.py::test_a_claim_is_renewed_while_a_call_runs",),
    ),
    Breakage(
        "relayed-entry-not-expected",
        "An entry whose messages left is expected in the journal from then on.",
        (storage("store", "self._data.note_entry(outcome.value.end, command.partition)", "pass"),),
        ("tests/unit/storage/test_events.py::test_an_entry_that_was_read_is_expected_from_then_on[relay]",),
    ),
    Breakage(
        "message-ticked-off-before-delivery",
        "The relay moves on only when it is known what became of every message.",
        (
            engine(
                "notifications/relay",
                "            failed = await self._deliver_all(partition, news.notifications)\n",
                "            failed = []\n",
            ),
            engine(
                "notifications/relay",
                "        return not news.is_last\n",
                "        await self._deliver_all(partition, news.notifications)\n"
                "        return not news.is_last\n",
            ),
        ),
        (
            "tests/unit/engine/notifications/test_relay_failures.py::test_what_a_channel_does_not_take_waits_with_the_reason",
        ),
    ),
    Breakage(
        "everysec-accepted",
        "A store that writes to its disk once a second loses what it acknowledged, and is refused.",
        (
            storage(
                "server/health",
                'info["appendfsync"] == "everysec" and durability == "always"',
                'info["appendfsync"] == "everysec" and durability == "never"',
            ),
        ),
        (
            f"{FITNESS}::test_a_store_that_must_not_be_used_is_not_initialised[valkey]",
            f"{OVERRULED}[valkey-change1-lose acknowledged payments: appendfsync is everysec-everysec]",
        ),
    ),
    Breakage(
        "reference-freed-by-the-clock",
        "An invoice whose reference was taken over is expired for good, wherever the clock goes.",
        (lua("shared/reference", "redis.call('HSET', key('invoice', invoice_id), 'status', 'expired')", ""),),
        (f"{REFERENCES}::test_a_clock_that_goes_back_leaves_one_invoice_of_an_order_that_can_be_paid",),
    ),
    Breakage(
        "colliding-references-merged",
        "Two invoices with the same reference in normal form are both kept by a migration.",
        (lua("migrate_references", "if other and other ~= id then", "if false then"),),
        (
            f"{MIGRATION}::test_references_are_keyed_by_their_normal_form_and_those_that_collide_are_said_and_kept[fake-4]",
        ),
    ),
    Breakage(
        "migration-set-back",
        "A migration that another one overtook does not set the position back.",
        (
            lua(
                "advance_migration",
                "if current == schema and (current_position or '0-0') == position then",
                "if true then",
            ),
        ),
        (f"{STEPS}::test_a_migration_that_another_one_overtakes_changes_nothing[fake-MigratePayments]",),
    ),
    Breakage(
        "migrated-store-begun-anew",
        "A migration that comes after another one ended does not begin anew.",
        (lua("begin_migration", "meta.schema == schema and ", ""),),
        (f"{STEPS}::test_a_migration_that_another_one_overtakes_changes_nothing[fake-BeginMigration]",),
    ),
    Breakage(
        "migration-without-an-end-for-engines",
        "Engines of the earlier version close when a migration begins.",
        (
            lua(
                "begin_migration",
                "'migration_position', '0-0', 'incarnation', incarnation)",
                "'migration_position', '0-0')",
            ),
        ),
        (
            f"{KILLED}::test_an_engine_of_the_earlier_version_that_works_until_its_next_look_loses_nothing[valkey]",
        ),
    ),
    Breakage(
        "migrated-codes-without-their-version",
        "A code that was sent again before a migration is the one that counts after it.",
        (lua("migrate_payments", "version = code_version,", "version = '1',"),),
        (f"{MIGRATION}::test_every_waiting_payment_can_be_confirmed[fake-5]",),
    ),
    Breakage(
        "lost-store-initialised-anew",
        "A store without its meta record lost its data and is not taken for a new one.",
        (storage("store", "if is_new and (not meta or", "if (not meta or"),),
        (f"{FITNESS}::test_a_store_that_was_never_initialised_is_refused_and_says_what_to_do[valkey]",),
    ),
    Breakage(
        "loss-kept-in-memory",
        "A loss that one engine noticed closes the store for all, after a restart, too.",
        (storage("server/data_check", "await self._is_lost(request, watermark, seen)", "True"),),
        (f"{HEALTH}::test_a_loss_is_recorded_in_the_store_and_closes_it_for_engines_that_saw_none",),
    ),
    Breakage(
        "loss-accepted-in-the-same-incarnation",
        "Engines that saw what was lost stay closed after it is accepted.",
        (lua("accept_loss", "'incarnation', next_incarnation)", "'incarnation', incarnation)"),),
        (f"{LOSSES}::test_an_accepted_loss_leaves_the_store_with_another_incarnation[fake]",),
    ),
    Breakage(
        "demoted-primary-kept",
        "A connection to a server that became a replica is given up.",
        (storage("server/client", "connection.abort()  # the next", "pass  # the next"),),
        (f"{FAILOVERS}::test_a_connection_to_a_server_that_became_a_replica_is_given_up[valkey]",),
    ),
    Breakage(
        "give-back-kept-by-the-partition",
        "What is given back in one partition goes to the home of the limit, which may grant it to another.",
        (
            lua(
                "shared/slices",
                "redis.call('HINCRBY', counter.key, period .. ':returned', amount)",
                "counter.slice.returned",
            ),
        ),
        (f"{LIMIT_SLICES}::test_what_is_given_back_after_a_lowering_is_not_spent_past_the_limit[fake]",),
    ),
    Breakage(
        "give-back-not-reported",
        "What is given back in one partition counts again within milliseconds.",
        (storage("partitions", "self._slices.report(partition, returned)", "pass"),),
        (f"{LIMIT_SLICES}::test_what_is_given_back_in_one_partition_is_there_for_another[fake]",),
    ),
    Breakage(
        "only-reported-parts-recalled",
        "What a process gave back and did not report is recalled within seconds.",
        (lua("ask_slice", "holders_of(quota, is_stale)", "holders_of(quota, false)"),),
        (f"{LIMIT_SLICES}::test_an_amount_whose_return_was_not_reported_counts_again_after_five_seconds",),
    ),
    Breakage(
        "old-report-believed",
        "A report of less returned than is known is an old one: its used amount counts no more.",
        (lua("shared/quota", "if tonumber(returned) >= tonumber(quota.returned) then", "if true then"),),
        (f"{LIMIT_SLICES}::test_a_report_that_comes_late_counts_no_more[fake]",),
    ),
    Breakage(
        "recall-without-the-granted-total",
        "A recall takes back a grant that is still on its way, too.",
        (lua("recall_slice", "larger(own_granted, granted)", "own_granted or '0'"),),
        (f"{LIMIT_SLICES}::test_a_grant_that_arrives_after_a_lowering_is_worth_nothing[fake]",),
    ),
    Breakage(
        "returned-added-not-merged",
        "A report that comes twice counts once.",
        (
            lua(
                "shared/quota",
                "larger(quota.returned, returned)",
                "int(quota.returned + returned)",
            ),
        ),
        tuple(f"{SLICES}[{seed}-valkey]" for seed in range(4)),
    ),
    Breakage(
        "partition-without-a-record-unlimited",
        "A partition that knows nothing of a limit asks its home.",
        (
            lua(
                "shared/slices",
                "elseif not slice.mode then\n        return 'limit_short'",
                "elseif not slice.mode then\n        return nil",
            ),
        ),
        (f"{LIMIT_SLICES}::test_a_partition_that_was_never_told_a_limit_asks_for_it[fake]",),
    ),
    Breakage(
        "reference-freed-before-its-invoice-was-closed",
        "A reference goes on to another invoice only when a script ended the one that has it.",
        (storage("creations", 'if released.code != "ok":', "if False:"),),
        (f"{CREATIONS}::test_a_reference_is_used_once_in_all_partitions_until_its_invoice_frees_it[fake]",),
    ),
    Breakage(
        "foreign-partition-used",
        "A script of a store of several partitions runs in the incarnation that the engine knows only.",
        (lua("shared/base", "return not is_partitioned or guard == key", "return true or guard == key"),),
        (f"{PARTITIONED}::test_a_partition_of_another_store_is_refused_by_its_script_and_at_the_start[fake]",),
    ),
    Breakage(
        "one-place-for-all-partitions",
        "A cursor of a list over all partitions is a place in each of them.",
        (storage("merged_lists", "number + 1 if partition < place.partition else number", "number"),),
        (
            "tests/unit/storage/partitions/test_merged_lists.py::test_places_of_one_millisecond_are_in_the_order_of_partitions",
        ),
    ),
)
