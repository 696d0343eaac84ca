"""Breakages of what operators see: how payments end, and traces."""

from planted.breakage import Breakage, Edit, engine, lua

RELAY = "tests/unit/engine/notifications/test_relay.py"
ENDS = "test_each_end_of_a_payment_is_counted_by_its_currency_once_it_is_relayed"
TRACING = "tests/feature/test_tracing.py"

WATCHING = (
    Breakage(
        "ends-counted-by-two",
        "A payment that ends is counted by the one engine that relays its entry.",
        (
            engine(
                "notifications/relay",
                "        else:\n            self._count(news)\n",
                "        self._count(news)\n        if True:\n",
            ),
        ),
        (f"{RELAY}::{ENDS}",),
    ),
    Breakage(
        "cancels-not-counted",
        "A payment that its user canceled is counted, too, although it causes no message.",
        (lua("claim_relay", "is_known and currency or nil", "nil"),),
        (
            "tests/unit/storage/test_relay.py::test_entries_cause_notifications_of_what_users_do_not_know_in_their_order[fake]",
        ),
    ),
    Breakage(
        "traces-of-others",
        "A command that waits in a mailbox keeps the trace of its own caller.",
        (engine("actors/actor", "            if envelope.context is None:\n", "            if True:\n"),),
        (f"{TRACING}::test_commands_that_wait_in_a_mailbox_keep_their_own_traces",),
    ),
    Breakage(
        "errors-with-their-text",
        "The text of an error is in no span: it can have addresses and codes in it.",
        (engine("tracing", "type(result).__name__)", "str(result))"),),
        (f"{TRACING}::test_spans_have_nothing_of_users_no_code_and_no_secret",),
    ),
    Breakage(
        "a-trace-for-each-process",
        "All work about a payment is in the trace whose id is made of the payment's id.",
        (Edit("cli/technopay/cli/tracing.py", "PAYMENT_TRACE.get() or super()", "super()"),),
        (f"{TRACING}::test_a_ratio_keeps_the_same_payments_in_every_process",),
    ),
)
