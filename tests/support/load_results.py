"""Made-up results of load tests: clean, broken, half an hour long, two seconds long, and empty."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from technopay.cli.load.result import (
    FlowResult,
    Generator,
    Latency,
    Operation,
    Outcome,
    Plan,
    Result,
    Series,
    Server,
    Verdict,
)
from technopay.engine import Audit, Checked, Difference

MIB = 2.0**20
CODES = {
    "succeeded": (200, 300), "confirmation_invalid": (422, 24), "insufficient_funds": (402, 16),
    "canceled": (200, 12), "settlement_failed": (402, 12), "daily_limit_exceeded": (402, 6),
    "overloaded": (503, 2),
}  # fmt: skip
"""Status and number per second of each outcome of a purchase."""
REQUESTS = {"invoice": 2.4, "start": 3.9, "code": 2.1, "confirm": 6.2, "wait": 900.0, "purchase": 17.4}
"""The operations, with their median in milliseconds."""
PLAN = Plan(
    url="http://127.0.0.1:8080", scenario="mixed", duration_s=60.0, users=200, concurrency=64, rate_per_s=None
)
NOTHING_CHECKED = Checked(**dict.fromkeys(Checked.model_fields, 0))
CLEAN_AUDIT = Audit(clean=True, checked=NOTHING_CHECKED, differences=[])


def clean_result(seconds: int = 60, rate_per_s: float | None = None) -> Result:
    """A mixed run, with metrics that are known after three seconds."""
    count = 372 * seconds
    return Result(
        version="0.1.0",
        machine="Linux 6.1, x86_64, 2 cores, Python 3.11.2",
        began_at=datetime(2026, 11, 23, 15, 4, 5, tzinfo=UTC),
        ran_s=float(seconds),
        ended_early=False,
        rejected=0.005,
        never_begun=0,
        plan=PLAN.model_copy(update={"duration_s": float(seconds), "rate_per_s": rate_per_s}),
        operations=[
            Operation(name=name, count=count, per_s=372.0, latency=latency(p50_ms))
            for name, p50_ms in REQUESTS.items()
        ],
        outcomes=[
            outcome("invoice", 201, "open", count),
            outcome("start", 201, "requires_confirmation", count),
            *(
                outcome(operation, status, code, per_s * seconds)
                for operation in ("confirm", "purchase")
                for code, (status, per_s) in CODES.items()
            ),
        ],
        stories=[flow("pay", count), flow("wrong_code", count // 10), flow("confirm_twice", count // 20)],
        series=_series(seconds),
        server=Server(
            cpu_us_per_request=212.4,
            memory_bytes_before=78.2 * MIB,
            memory_bytes_after=91.6 * MIB,
            memory_bytes_max=97.1 * MIB,
            store_bytes_per_purchase=1_912.0,
        ),
        generator=Generator(cpu=0.61, lag_p99_ms=3.8, is_to_be_trusted=True),
        verdict=verdict(acknowledged=2 * count),
    )


def broken_result() -> Result:
    """A run in which invariants did not hold, by a generator that was too busy."""
    result = clean_result()
    found = [
        difference(invariant="balance_is_sum_of_entries", subject=f"wal_00{number:022d}") for number in range(3)
    ]
    own = [
        "every_debit_ends_once: pay_000000000000000000000041 succeeded, and is canceled",
        "one_payment_per_invoice: inv_000000000000000000000007 was paid by two payments",
    ]
    failed = [
        outcome("confirm", 500, "internal_error", 11), outcome("confirm", 0, "ServerDisconnectedError", 4)
    ]  # fmt: skip
    return changed(
        result,
        stories=[*result.stories[:2], flow("confirm_twice", 900, {"internal_error": 11, "succeeded": 2})],
        outcomes=[*result.outcomes, *failed],
        generator=Generator(cpu=0.99, lag_p99_ms=412.0, is_to_be_trusted=False),
        verdict=verdict(clean=False, audit=broken_audit(*found), differences=own),
    )


def empty_result() -> Result:
    """A run without a server."""
    series: dict[str, Any] = {name: [] for name in Series.model_fields if name != "outcomes"}
    return changed(
        clean_result(),
        ran_s=0.4,
        ended_early=True,
        operations=[],
        outcomes=[],
        stories=[],
        series=Series(**series, outcomes={}),
        server=Server(**dict.fromkeys(Server.model_fields)),
        verdict=verdict(clean=False, acknowledged=0, audit=None, problem="connection refused"),
    )


def short_result() -> Result:
    """A run of two seconds, with few known figures."""
    unknown: list[float | None] = [None, None]
    series = _series(2).model_copy(
        update={
            "p50_ms": [None, 4.0],
            "server_cpu": unknown,
            "server_memory_bytes": [None, 80 * MIB],
            "store_memory_bytes": unknown,
        }
    )
    return changed(clean_result(2), series=series, verdict=verdict(audit=None))


def changed(result: Result, **changes: object) -> Result:
    return Result.model_validate(result.model_copy(update=changes).model_dump())


def verdict(**changes: Any) -> Verdict:
    usual = {"clean": True, "acknowledged": 1_234, "audit": CLEAN_AUDIT, "differences": [], "problem": None}
    return Verdict(**{**usual, **changes})


def broken_audit(*differences: Difference) -> Audit:
    return CLEAN_AUDIT.model_copy(update={"clean": False, "differences": list(differences)})


def difference(**changes: str) -> Difference:
    return Difference(**{"what": "balance", "expected": "48750", "found": "50000", **changes})


def outcome(operation: str, status: int, code: str, count: int, p50_ms: float | None = 4.0) -> Outcome:
    times = None if p50_ms is None else latency(p50_ms)
    return Outcome(operation=operation, status=status, code=code, count=count, latency=times)


def latency(p50_ms: float) -> Latency:
    return Latency(p50_ms=p50_ms, p95_ms=2 * p50_ms, p99_ms=4 * p50_ms, max_ms=19 * p50_ms)


def flow(name: str, ended: int, surprises: dict[str, int] | None = None) -> FlowResult:
    expected = ended - 5 - sum((surprises or {}).values())
    return FlowResult(
        name=name,
        begun=ended + 3,
        ended=ended,
        as_expected=expected,
        turned_away=5,
        surprises=Counter(surprises or {}),
    )


def _series(seconds: int) -> Series:
    """Make up each second: ten of them are slow at two thirds, without metrics."""
    slow = [2 * seconds // 3 <= second < 2 * seconds // 3 + 10 for second in range(seconds)]
    known = [second > 2 and not is_slow for second, is_slow in enumerate(slow)]
    p50_ms = [40.0 if is_slow else 4.0 + second % 3 for second, is_slow in enumerate(slow)]
    return Series(
        at_s=[float(second) for second in range(seconds)],
        purchases_per_s=[300.0 - 200 * is_slow for is_slow in slow],
        requests_per_s=[1_600.0 - 1_000 * is_slow for is_slow in slow],
        p50_ms=p50_ms,
        p95_ms=[2 * each for each in p50_ms],
        p99_ms=[4 * each for each in p50_ms],
        outcomes={code: [per_s] * seconds for code, (_, per_s) in CODES.items()},
        under_way=[64 if is_slow else 50 for is_slow in slow],
        server_cpu=[0.97 if is_known else None for is_known in known],
        server_memory_bytes=[(78 + second / 10) * MIB if known[second] else None for second in range(seconds)],
        store_memory_bytes=[(12 + second) * MIB if known[second] else None for second in range(seconds)],
    )
