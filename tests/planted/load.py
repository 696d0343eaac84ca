"""Breakages of the load test itself: a missed difference, a latency measured too low."""

from planted.breakage import Breakage, Edit

ACKNOWLEDGEMENTS = "tests/unit/cli/test_load_acknowledgements.py"
VERDICT = "tests/unit/cli/test_load_verdict.py"
TRAFFIC = "tests/unit/cli/test_load_traffic.py"


def load(module: str, old: str, new: str) -> Edit:
    """Change a module of `technopay load`."""
    return Edit(f"cli/technopay/cli/load/{module}.py", old, new)


LOAD = (
    Breakage(
        "load-trusts-the-audit",
        "A load test compares the store with the acknowledgements, whatever the server's audit says.",
        (load("verdict", "return strange + lines", "return []"),),
        (
            f"{VERDICT}::test_a_balance_that_differs_from_its_payments_is_a_difference",
            f"{VERDICT}::test_differences_of_payments[paid twice]",
            f"{VERDICT}::test_differences_of_payments[missing]",
        ),
    ),
    Breakage(
        "load-believes-the-last-answer",
        "Every acknowledgement of a payment is compared with the later ones.",
        (load("acknowledgements", "if before is not None:", "if False:"),),
        (
            f"{ACKNOWLEDGEMENTS}::test_a_final_payment_keeps_its_status",
            f"{ACKNOWLEDGEMENTS}::test_an_acknowledged_field_does_not_change",
        ),
    ),
    Breakage(
        "load-is-clean-without-an-audit",
        "Without the server's audit there is no verdict.",
        (load("verdict", "problem is None and audit is not None and audit.clean and not audit.differences",
              "(audit is None or audit.clean)"),),
        (f"{VERDICT}::test_without_the_servers_state_there_is_no_verdict_but_a_reason",),
    ),
    Breakage(
        "load-waits-for-a-slow-server",
        "At a rate, a latency counts from when the purchase was due, however late it could begin.",
        (load("traffic", "self._begin(due_s or self._clock())", "self._begin(self._clock())"),),
        (f"{TRAFFIC}::test_at_a_rate_a_latency_counts_from_when_the_purchase_was_due",),
    ),
)  # fmt: skip
