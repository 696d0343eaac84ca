"""Breakages of the rules about money: the payer, the code, the limit, and the end of a debit."""

from planted.breakage import Breakage, engine, lua, storage

EVIDENCE = "tests/unit/storage/test_payments_evidence.py"
CONFIRM = "tests/unit/storage/test_payments_confirm.py"
START = "tests/unit/storage/test_payments_start.py"
SETTLEMENT = "tests/unit/storage/test_payments_settlement.py"
DIALOGUE = "tests/unit/engine/settlement/test_protocol.py"
STATES = "tests/feature/test_library_states.py"
CODES = "tests/feature/test_library_codes.py"
ENDS = "tests/feature/test_library_settlement.py"
REFUNDS = "tests/unit/storage/test_partial_refunds.py"
WALLETS = "tests/unit/storage/test_payments_commands.py"

FIRST_RULE = f"{START}::test_a_refused_start_names_the_first_rule_and_changes_nothing"
LAST_UNIT = f"{CONFIRM}::test_the_last_unit_of_balance_and_limit_can_be_paid_and_one_more_cannot[fake]"
BURNS_NOTHING = f"{CONFIRM}::test_a_right_code_refused_for_funds_or_limit_burns_nothing"

CONFIRMATION = (
    Breakage(
        "confirm-ignores-balance",
        "A wallet pays no more than it holds, judged in the script that takes the money.",
        (lua("confirm_payment", "tonumber(amount) > tonumber(balance) and 'insufficient_funds'", "false"),),
        (LAST_UNIT, f"{BURNS_NOTHING}[fake-insufficient_funds]"),
    ),
    Breakage(
        "confirm-ignores-limit",
        "All payments of a day stay within the limit, judged in the script that takes the money.",
        (lua("confirm_payment", "'insufficient_funds' or limit_code", "'insufficient_funds' or nil"),),
        (LAST_UNIT, f"{BURNS_NOTHING}[fake-daily_limit_exceeded]"),
    ),
    Breakage(
        "limit-counted-before-judging",
        "A payment that is refused keeps no share of the limit.",
        (
            lua(
                "confirm_payment",
                "local refused =",
                "for _, counter in ipairs(counters) do\n"
                "    redis.call('HINCRBY', counter.key, counter.period, amount)\n"
                "end\n"
                "local refused =",
            ),
            lua(
                "confirm_payment",
                "local entry = append(",
                "for _, counter in ipairs(counters) do\n"
                "    redis.call('HINCRBY', counter.key, counter.period, '-' .. amount)\n"
                "end\n"
                "local entry = append(",
            ),
        ),
        (f"{BURNS_NOTHING}[fake-insufficient_funds]", f"{BURNS_NOTHING}[fake-daily_limit_exceeded]"),
    ),
    Breakage(
        "limit-counted-and-given-back",
        "A payment that is refused has no share of the limit, not even for a moment.",
        (
            lua(
                "confirm_payment",
                "    local changed = next_version(version)\n",
                "    if refused == 'daily_limit_exceeded' then\n"
                "        redis.call('HINCRBY', counters[1].key, counters[1].period, amount)\n"
                "    end\n"
                "    local changed = next_version(version)\n",
            ),
            lua(
                "shared/counters",
                "'resets_at', counter.resets_at,\n",
                "'resets_at', counter.resets_at, 'day', counter.period,\n",
            ),
            storage(
                "partition",
                "        self._send(command, lease, partial(self._resolve, command, monotonic(), on_result))\n",
                "        def give_back(binding: Any, raw: Any, outcome: Any) -> None:\n"
                "            details = raw[4] if binding.script.name == 'confirm_payment' and raw[4:] else []\n"
                "            if 'day' in details and self.client:\n"
                "                told = dict(zip(details[::2], details[1::2]))\n"
                "                key = self.keys.key('limit', 'global:' + told['currency'])\n"
                "                back = ('HINCRBY', key, told['day'], -outcome.value.amount)\n"
                "                self.client.send_command(back, lambda _: None)\n"
                "            on_result(outcome)\n\n"
                "        def on_reply(binding: Any, raw: Any) -> None:\n"
                "            self._resolve(command, 0.0, partial(give_back, binding, raw), binding, raw)\n\n"
                "        self._send(command, lease, on_reply)\n",
            ),
        ),
        (
            LAST_UNIT,
            LAST_UNIT.replace("fake", "valkey"),
        ),
    ),
    Breakage(
        "code-burnt-before-the-balance",
        "A right code that is refused for funds or limit can be used again.",
        (
            lua(
                "confirm_payment",
                "local refused =",
                "code.version = int(code.version + 1)\nwrite_code(payment_id, code)\nlocal refused =",
            ),
        ),
        (f"{BURNS_NOTHING}[fake-insufficient_funds]", f"{BURNS_NOTHING}[fake-daily_limit_exceeded]"),
    ),
    Breakage(
        "malformed-code-is-free",
        "Whatever is typed and does not match costs an attempt.",
        (
            engine(
                "fields",
                'return None if 1 <= len(code) <= 64 else "has to be 1 to 64 characters"',
                'return None if re.fullmatch("[0-9]{6}", code) else "has to be 6 digits"',
            ),
        ),
        (
            f"{CODES}::test_any_string_that_does_not_match_costs_an_attempt[fake]",
            "tests/unit/engine/test_fields.py::test_a_field_takes_right_values_and_refuses_wrong_ones",
        ),
    ),
    Breakage(
        "wrong-codes-without-end",
        "The fifth wrong code ends the payment.",
        (
            lua(
                "confirm_payment",
                "code.attempts = int(code.attempts - 1)\n",
                "code.attempts = int(math.max(0, code.attempts - 1))\n",
            ),
            lua("confirm_payment", "if code.attempts == '0' then", "if code.attempts == '-1' then"),
        ),
        (
            f"{CONFIRM}::test_the_fifth_wrong_code_ends_the_payment_and_frees_the_invoice[fake]",
            f"{STATES}::test_a_command_meets_a_payment_in_a_state[fake-failed_by_attempts-confirm]",
        ),
    ),
    Breakage(
        "code-good-at-its-expiry",
        "At the very millisecond of its expiry a code is dead.",
        (
            lua(
                "confirm_payment",
                "elseif now >= tonumber(code.expires_at) then",
                "elseif now > tonumber(code.expires_at) then",
            ),
        ),
        ("tests/unit/storage/test_expiry.py::test_a_code_is_good_to_its_last_millisecond",),
    ),
    Breakage(
        "old-code-still-good",
        "A fresh code is the only one that is good: those before it are dead.",
        (
            lua(
                "confirm_payment",
                "not (string.find(versions, ',' .. code.version .. ',', 1, true)",
                "not (versions ~= ','",
            ),
        ),
        (
            f"{CODES}::test_a_resend_sends_a_fresh_code_in_place_of_the_old_one_three_times[fake]",
            f"{WALLETS}::test_a_fresh_code_has_a_fresh_expiry_and_the_same_attempts_and_the_old_one_is_dead[fake]",
        ),
    ),
    Breakage(
        "code-judged-under-another-key",
        "An answer that was compared under another key than the challenge's is not judged and costs nothing.",
        (
            lua(
                "confirm_payment",
                "elseif key_id ~= (code.key or '') then\n    return reply('key_unknown')\n",
                "",
            ),
        ),
        (
            f"{EVIDENCE}::test_an_answer_that_was_compared_under_another_key_is_not_judged_and_not_counted[fake-right]",
        ),
    ),
    Breakage(
        "code-for-any-amount",
        "A code is bound to the amount that the user agreed to.",
        (engine("verifiers/message_code", "{terms.amount}|{terms.currency}", "{terms.currency}"),),
        ("tests/unit/engine/verifiers/test_message_code.py::test_a_code_is_bound_to_what_the_user_agrees_to",),
    ),
    Breakage(
        "confirm-for-somebody-else",
        "Somebody else's payment looks like none.",
        (lua("confirm_payment", "if payer ~= user_id then", "if not payer then"),),
        (f"{CONFIRM}::test_somebody_elses_payment_looks_like_none[fake]",),
    ),
    Breakage(
        "start-from-a-foreign-wallet",
        "Somebody else's wallet looks like none.",
        (lua("start_payment", "if wallet_user ~= user_id then", "if not wallet_user then"),),
        (f"{FIRST_RULE}[fake-wallet_not_found-foreign_wallet]",),
    ),
    Breakage(
        "start-for-a-foreign-invoice",
        "Somebody else's invoice looks like none.",
        (lua("start_payment", "if invoice_user ~= user_id then", "if not invoice_user then"),),
        (f"{FIRST_RULE}[fake-invoice_not_found-foreign_invoice]",),
    ),
    Breakage(
        "two-live-payments",
        "An invoice has at most one live payment: a new one cancels the unconfirmed one before it.",
        (lua("start_payment", "    end_earlier(live, invoice_id, 'restart')\n", ""),),
        (f"{START}::test_a_second_start_ends_the_first_and_makes_a_new_one[fake-waiting]",),
    ),
)

ENDINGS = (
    Breakage(
        "refund-on-time-out",
        "Silence of the settlement service is no answer: nothing goes back to the wallet.",
        (
            engine(
                "settlement/protocol",
                "        except (Exception, asyncio.CancelledError) as error:\n",
                "        except TimeoutError:\n            return meanings['declined']\n"
                "        except (Exception, asyncio.CancelledError) as error:\n",
            ),
        ),
        (
            f"{DIALOGUE}::test_the_first_clear_answer_is_the_verdict[lost answer]",
            f"{ENDS}::test_a_debit_that_is_settled_in_the_end_succeeds[fake-shop-lost]",
        ),
    ),
    Breakage(
        "refund-on-not-found",
        "'Not found' is not a no: a request of ours may still be on its way.",
        (
            engine(
                "settlement/protocol",
                'return None if status == "not_found" else status\n',
                'return "given_back" if status == "not_found" else status\n',
            ),
        ),
        (
            f"{DIALOGUE}::test_errors_and_not_found_are_sent_again_five_times_and_then_called_off",
            f"{DIALOGUE}::test_the_first_clear_answer_is_the_verdict[third try]",
        ),
    ),
    Breakage(
        "call-off-without-tombstone",
        "What was called off is not settled any more, though it was never seen before.",
        (
            lua(
                "mock_settlement",
                "return become('called_off')",
                "return {'called_off', at, ''}",
            ),
        ),
        ("tests/unit/engine/testing/test_mocks.py::test_what_was_called_off_is_not_settled_any_more",),
    ),
    Breakage(
        "limit-given-back-to-today",
        "The limit is given back to the day that was charged.",
        (
            lua(
                "shared/credit",
                "        redis.call('HINCRBY', counter.key, counter.period, '-' .. payment.amount)\n",
                "        local day = ''\n"
                "        for _, each in ipairs(redis.call('HKEYS', counter.key)) do\n"
                "            day = #each == 10 and each > day and each or day\n"
                "        end\n"
                "        redis.call('HINCRBY', counter.key, day, '-' .. payment.amount)\n",
            ),
        ),
        (f"{SETTLEMENT}::test_the_limit_is_given_back_to_the_day_that_was_charged[fake]",),
    ),
    Breakage(
        "inactive-wallet-gets-nothing-back",
        "What is given back gets into the wallet, whatever its status or its user's.",
        (
            lua(
                "complete_payment",
                "require_writable(payment,",
                "if fields('wallet', wallet, 'status') ~= 'active' then\n"
                "    return {'claim_lost', at, ''}\n"
                "end\n"
                "require_writable(payment,",
            ),
        ),
        (
            f"{SETTLEMENT}::test_money_comes_back_to_an_inactive_wallet_of_a_blocked_user_past_another_lease[fake]",
        ),
    ),
    Breakage(
        "refund-credited-twice",
        "A refund that is asked for again is not credited again.",
        (
            lua("begin_refund", "if payment.status == 'refunded' and amount == '' then", "if false then"),
            lua(
                "begin_refund",
                "local left = payment.status == 'refunded' and '0' or",
                "local left = payment.status == 'refunded' and payment.amount or",
            ),
        ),
        (f"{REFUNDS}::test_more_than_is_left_is_refused_and_nothing_changes[fake]",),
    ),
    Breakage(
        "deposit-forgets-what-may-come-back",
        "What a wallet may yet get back fits into it, whatever is deposited meanwhile.",
        (
            lua(
                "change_balance",
                "MAX_AMOUNT - tonumber(wallet.ledger)",
                "MAX_AMOUNT - tonumber(wallet.balance)",
            ),
        ),
        (f"{WALLETS}::test_a_deposit_fits_with_what_the_wallet_holds_and_what_may_come_back[fake]",),
    ),
    Breakage(
        "void-while-processing",
        "An invoice whose payment took the money cannot be withdrawn.",
        (
            lua(
                "void_invoice",
                "if invoice.status == 'processing' or invoice.status == 'paid' then",
                "if invoice.status == 'paid' then",
            ),
            lua(
                "void_invoice",
                "if invoice.payment then",
                "if invoice.payment and invoice.status ~= 'processing' then",
            ),
        ),
        (f"{STATES}::test_a_command_meets_a_payment_in_a_state[fake-processing-void]",),
    ),
    Breakage(
        "success-without-event",
        "A payment that succeeded is in the journal, from which its user is told.",
        (lua("shared/settlement", "    append('payment.succeeded', id, 'version', version)\n", ""),),
        (f"{SETTLEMENT}::test_settled_pays_the_invoice_and_nothing_can_come_back_any_more[fake]",),
    ),
    Breakage(
        "failure-without-event",
        "A payment that ends without a debit is in the journal, from which its user is told.",
        (lua("shared/end_unconfirmed", "    append('payment.' .. status, id, 'version', version, ...)\n", ""),),
        (f"{CONFIRM}::test_the_fifth_wrong_code_ends_the_payment_and_frees_the_invoice[fake]",),
    ),
)
