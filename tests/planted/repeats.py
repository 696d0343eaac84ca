"""Breakages of the protection against calls that come twice, late or out of turn."""

from planted.breakage import Breakage, engine, lua, storage

LEASE = "tests/unit/storage/test_lease.py"
REPEATS = "tests/unit/storage/test_repeats.py::test_a_repeat_gets_the_same_outcome_and_changes_nothing"
FAULTS = "tests/unit/storage/server/test_client_faults.py"
SETTLEMENT = "tests/unit/storage/test_payments_settlement.py"
OPERATIONS = (
    "tests/unit/storage/test_repeats.py"
    "::test_an_operation_id_with_another_fingerprint_is_refused_and_changes_nothing"
)
CONFIRM = "tests/unit/storage/test_payments_confirm.py"
ORDER = "tests/feature/test_library_order.py"
AGAIN = "tests/unit/engine/actors/test_actor_resend.py"

SEND = "        self.client.send(binding.script, self._keys, arguments, partial(on_reply, binding))\n"

REPEATS_AND_CLAIMS = (
    Breakage(
        "result-after-lease",
        "A script looks for its own earlier result first, and judges the lease after that.",
        (
            lua(
                "confirm_payment",
                "if last_call and string.sub(last_call",
                "local early = lease_refusal(wallet, owner, token)\n"
                "if early then\n    return {early, at, ''}\nend\n"
                "if last_call and string.sub(last_call",
            ),
        ),
        (f"{LEASE}::test_the_own_earlier_result_is_answered_before_the_lease_is_judged[confirm_payment]",),
    ),
    Breakage(
        "result-after-claim",
        "A completion looks for its own earlier result first, and judges the claim after that.",
        (
            lua(
                "complete_payment",
                "if is_recorded(verdict,",
                "if current == claim and is_recorded(verdict,",
            ),
        ),
        (
            f"{REPEATS}[fake-complete_payment]",
            f"{SETTLEMENT}::test_a_verdict_of_the_service_is_final[fake-settled-given_back]",
        ),
    ),
    Breakage(
        "operation-forgotten",
        "A call that comes again is known by its operation id and gets its first answer again.",
        (
            lua(
                "shared/operation",
                "redis.call('HMGET', key('operation', operation_id), 'fingerprint', 'reply')",
                "{false, false}",
            ),
        ),
        (
            f"{REPEATS}[fake-change_balance]",
            f"{FAULTS}::test_a_lost_reply_is_asked_for_again_and_the_money_moves_once[Fault.DROP_REPLY]",
            f"{OPERATIONS}[fake-change_balance]",
        ),
    ),
    Breakage(
        "new-operation-on-every-repeat",
        "A command whose reply was lost is asked for again under the identity that it had.",
        (
            engine(
                "actors/actor",
                "        self._sent.append(envelope)\n",
                "        self._sent.append(envelope)\n"
                "        if envelope.resolve_by is not None and hasattr(envelope.command, 'operation'):\n"
                "            from dataclasses import replace\n"
                "            was = envelope.command.operation\n"
                "            another = was._replace(operation_id=was.operation_id + 'x')\n"
                "            envelope.command = replace(envelope.command, operation=another)\n",
            ),
        ),
        (
            f"{AGAIN}::test_what_was_refused_or_lost_goes_out_again_in_its_old_order",
            f"{ORDER}::test_a_connection_that_is_lost_changes_neither_order_nor_number[1]",
        ),
    ),
    Breakage(
        "confirm-forgets-its-outcome",
        "A confirm that comes again gets its outcome again and is not judged a second time.",
        (lua("confirm_payment", "if last_call and string.sub(last_call", "if false and string.sub(last_call"),),
        (
            f"{REPEATS}[fake-confirm_payment__without_funds]",
            f"{CONFIRM}::test_a_repeat_after_another_process_took_the_settlement_over_gets_no_claim[fake]",
        ),
    ),
    Breakage(
        "key-recorded-afterwards",
        "The record of an operation is written by the script that moves the money, not after it.",
        (
            lua(
                "change_balance",
                "return record_reply(operation_id, fingerprint, kept_ms, reply('ok'))",
                "return reply('ok')",
            ),
            storage(
                "partition",
                SEND,
                "        def record(raw: Any) -> None:\n"
                "            is_done = isinstance(raw, list) and raw[0] == 'ok' and self.client is not None\n"
                "            if binding.script.name == 'change_balance' and is_done:\n"
                "                import json\n"
                "                key = self.keys.key('operation', command.operation.operation_id)\n"
                "                record = ('fingerprint', command.operation.fingerprint, 'reply')\n"
                "                words = ('HSET', key, *record, json.dumps(raw))\n"
                "                self.client.send_command(words, lambda _: None)\n"
                "            on_reply(binding, raw)\n\n"
                "        self.client.send(binding.script, self._keys, arguments, record)\n",
            ),
        ),
        (f"{FAULTS}::test_a_lost_reply_is_asked_for_again_and_the_money_moves_once[Fault.DROP_REPLY]",),
    ),
    Breakage(
        "key-shared-by-all-callers",
        "An idempotency key belongs to the caller who sent it.",
        (engine("runtime", "_digest([name, *scope, key])", "_digest([name, key])"),),
        (
            "tests/feature/test_library_idempotency.py::test_a_key_belongs_to_one_user[fake]",
            "tests/unit/engine/test_runtime.py::test_the_id_of_a_call_with_a_key_depends_on_key_operation_user_and_subject",
        ),
    ),
    Breakage(
        "any-claim-completes",
        "A settlement's completion is written down only under the claim that is current.",
        (
            lua(
                "complete_payment",
                "(is_debit and 'processing' or 'refunding') or current ~= claim then",
                "(is_debit and 'processing' or 'refunding') then",
            ),
        ),
        (
            f"{SETTLEMENT}::test_an_old_claim_changes_nothing[fake-given_back]",
            f"{SETTLEMENT}::test_a_settlements_claim_is_worth_nothing_in_the_refund[fake]",
        ),
    ),
    Breakage(
        "settles-after-losing-claim",
        "Who lost the claim of a payment asks the settlement service nothing more.",
        (engine("settlement/protocol", "            raise ClaimLostError\n", "            pass\n"),),
        ("tests/unit/engine/settlement/test_protocol.py::test_whoever_lost_the_claim_asks_nothing_more",),
    ),
    Breakage(
        "stale-token-accepted",
        "Who comes with a token that is not current is fenced off.",
        (lua("shared/lease", "if token ~= '' and token ~= (wallet.token or '0') then", "if false then"),),
        (f"{LEASE}::test_an_old_token_is_fenced_and_changes_nothing[confirm_payment]",),
    ),
    Breakage(
        "lease-outlives-clock-jump",
        "A clock that jumped back does not make a lease longer than it ever was.",
        (
            lua(
                "shared/lease",
                "local is_live = remaining_ms > 0 and remaining_ms <= LEASE_MS",
                "local is_live = remaining_ms > 0",
            ),
        ),
        (f"{LEASE}::test_a_clock_that_jumped_back_does_not_make_a_lease_longer",),
    ),
    Breakage(
        "busy-is-a-refusal",
        "A command that meets another process's lease is tried again until its deadline.",
        (engine("actors/actor", 'if result.code != "busy":', "if result.code:"),),
        (f"{AGAIN}::test_a_wallet_busy_until_the_deadline_is_wallet_busy",),
    ),
    Breakage(
        "lost-command-is-overtaken",
        "Nothing goes out behind a command that is asked for again.",
        (
            engine(
                "actors/actor",
                " or not lease.token or envelope.resolve_by is not None:",
                " or not lease.token:",
            ),
        ),
        (f"{AGAIN}::test_nothing_overtakes_a_lost_command_that_is_refused_when_it_is_asked_for",),
    ),
    Breakage(
        "completion-refused-when-full",
        "What was accepted is completed however full the store is: no money waits for memory.",
        (lua("complete_payment", "verdict) allow-oom", "verdict)"),),
        ("tests/faults/test_store_memory.py::test_a_script_without_memory_does_nothing_or_all_of_it",),
    ),
    Breakage(
        "completion-waits-for-the-wallet",
        "A foreign holder of a wallet never delays a settlement or a refund.",
        (
            lua(
                "complete_payment",
                "local payment = {",
                "if tonumber(fields('wallet', wallet, 'lease_until') or '0') > now then\n"
                "    return {'claim_lost', at, ''}\n"
                "end\n"
                "local payment = {",
            ),
        ),
        ("tests/unit/engine/test_runtime.py::test_a_settlement_is_completed_while_its_wallet_is_stuck",),
    ),
    Breakage(
        "mailbox-without-end",
        "A mailbox takes no more than it has room for; one command too many is refused.",
        (engine("actors/mailbox", "if len(self) >= self._capacity:", "if False:"),),
        ("tests/unit/engine/actors/test_mailbox.py::test_a_full_mailbox_takes_no_more",),
    ),
    Breakage(
        "late-command-runs",
        "A command that did not begin before its deadline is dropped before it is sent.",
        (
            engine(
                "actors/actor",
                "if envelope.resolve_by is None and self._context.clock.monotonic() >= envelope.deadline:",
                "if envelope.deadline < 0:",
            ),
        ),
        (
            "tests/unit/engine/actors/test_actor.py::test_a_command_past_its_deadline_is_dropped_before_it_is_sent",
        ),
    ),
    Breakage(
        "close-drops-what-was-accepted",
        "What was accepted before the engine closes is finished.",
        (engine("runtime", "await self.directory.drain(drain_s)", "await self.directory.drain(0)"),),
        ("tests/unit/engine/test_runtime.py::test_commands_accepted_before_the_close_are_finished",),
    ),
)
