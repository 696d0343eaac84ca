"""Results of load tests as they may be, made up: clean, broken, half an hour long, and of nothing at all."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime

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

SHARES = {
    "succeeded": 0.82,
    "confirmation_invalid": 0.06,
    "insufficient_funds": 0.04,
    "canceled": 0.03,
    "settlement_failed": 0.03,
    "daily_limit_exceeded": 0.015,
    "overloaded": 0.005,
}


def clean_result(seconds: int = 60, rate_per_s: float | None = None) -> Result:
    """A mixed run that went well. Metrics are known after some seconds, and some are missed."""
    chance = random.Random(seconds)
    series = _series(seconds, chance)
    purchases = round(sum(series.purchases_per_s))
    requests = {"invoice": 1.0, "start": 1.0, "code": 1.3, "confirm": 1.06, "wait": 0.04}
    slowness = {"invoice": 2.4, "start": 3.9, "code": 2.1, "confirm": 6.2, "wait": 900.0}
    operations = [
        Operation(
            name=name,
            count=round(purchases * share),
            per_s=purchases * share / seconds,
            latency=_latency(slowness[name]),
        )
        for name, share in requests.items()
    ]
    whole = Operation(name="purchase", count=purchases, per_s=purchases / seconds, latency=_latency(17.4))
    return Result(
        version="0.1.0",
        machine="Linux 6.1, x86_64, 2 cores, Python 3.11.2",
        began_at=datetime(2026, 11, 23, 15, 4, 5, tzinfo=UTC),
        ran_s=float(seconds),
        ended_early=False,
        rejected=0.005,
        never_begun=0,
        plan=Plan(
            url="http://127.0.0.1:8080",
            scenario="mixed",
            duration_s=float(seconds),
            users=200,
            concurrency=64,
            rate_per_s=rate_per_s,
        ),
        operations=[*operations, whole],
        outcomes=_outcomes(purchases),
        stories=_flows(purchases),
        series=series,
        server=Server(
            cpu_us_per_request=212.4,
            memory_bytes_before=78.2 * 2**20,
            memory_bytes_after=91.6 * 2**20,
            memory_bytes_max=97.1 * 2**20,
            store_bytes_per_purchase=1_912.0,
        ),
        generator=Generator(cpu=0.61, lag_p99_ms=3.8, is_to_be_trusted=True),
        verdict=Verdict(
            clean=True, acknowledged=purchases * 2, audit=_audit(purchases), differences=[], problem=None
        ),
    )


def broken_result() -> Result:
    """A run that found that money did not move as it has to, by a generator that was too busy."""
    result = clean_result()
    purchases = result.operations[-1].count
    found = [
        Difference(
            invariant="balance_is_sum_of_entries",
            subject=f"wal_00{number:022d}",
            what="balance",
            expected="48750",
            found="50000",
        )
        for number in range(3)
    ]
    return _changed(
        result,
        stories=[
            *result.stories[:2],
            result.stories[2].model_copy(update={"surprises": {"internal_error": 11, "succeeded": 2}}),
            *result.stories[3:],
        ],
        outcomes=[
            *result.outcomes,
            _outcome("confirm", 500, "internal_error", 11),
            _outcome("confirm", 0, "ServerDisconnectedError", 4),
        ],
        generator=Generator(cpu=0.99, lag_p99_ms=412.0, is_to_be_trusted=False),
        verdict=Verdict(
            clean=False,
            acknowledged=purchases * 2,
            audit=_audit(purchases, found),
            differences=[
                "every_debit_ends_once: pay_000000000000000000000041 succeeded, and is canceled",
                "one_payment_per_invoice: inv_000000000000000000000007 was paid by two payments",
            ],
            problem=None,
        ),
    )


def empty_result() -> Result:
    """A run in which nothing happened: the server was not there."""
    nothing: list[float | None] = []
    return _changed(
        clean_result(),
        ran_s=0.4,
        ended_early=True,
        never_begun=0,
        operations=[],
        outcomes=[],
        stories=[],
        series=Series(
            at_s=[],
            purchases_per_s=[],
            requests_per_s=[],
            p50_ms=[],
            p95_ms=[],
            p99_ms=[],
            outcomes={},
            under_way=[],
            server_cpu=nothing,
            server_memory_bytes=nothing,
            store_memory_bytes=nothing,
        ),
        server=Server(
            cpu_us_per_request=None,
            memory_bytes_before=None,
            memory_bytes_after=None,
            memory_bytes_max=None,
            store_bytes_per_purchase=None,
        ),
        generator=Generator(cpu=0.0, lag_p99_ms=0.0, is_to_be_trusted=True),
        verdict=Verdict(
            clean=False,
            acknowledged=0,
            audit=None,
            differences=[],
            problem="The server at http://127.0.0.1:8080 did not answer: connection refused.",
        ),
    )


def short_result() -> Result:
    """A run of two seconds, of which little is known."""
    return _changed(
        clean_result(2),
        series=Series(
            at_s=[0.0, 1.0],
            purchases_per_s=[0.0, 3.0],
            requests_per_s=[4.0, 11.0],
            p50_ms=[None, 4.0],
            p95_ms=[None, 7.5],
            p99_ms=[None, 7.5],
            outcomes={"succeeded": [0, 2], "canceled": [0, 1]},
            under_way=[2, 1],
            server_cpu=[None, None],
            server_memory_bytes=[None, 80.0 * 2**20],
            store_memory_bytes=[None, None],
        ),
        verdict=Verdict(clean=True, acknowledged=4, audit=None, differences=[], problem=None),
    )


def _changed(result: Result, **changes: object) -> Result:
    return Result.model_validate(result.model_copy(update=changes).model_dump())


def _latency(p50_ms: float) -> Latency:
    return Latency(p50_ms=p50_ms, p95_ms=2.3 * p50_ms, p99_ms=4.1 * p50_ms, max_ms=19 * p50_ms)


def _series(seconds: int, chance: random.Random) -> Series:
    """Make up each second: a warm-up, noise, a bad moment at two thirds, and scrapes of metrics that fail."""
    at_s = [float(second) for second in range(seconds)]
    wave = [min(1.0, 0.4 + at / 8) * (1 + 0.05 * math.sin(at / 9)) * chance.gauss(1, 0.03) for at in at_s]
    bad = range(seconds * 2 // 3, seconds * 2 // 3 + max(1, seconds // 20))
    speed = [0.35 * w if second in bad else w for second, w in enumerate(wave)]
    times = [(9 if second in bad else 1) * chance.lognormvariate(1.4, 0.12) for second in range(seconds)]
    totals = [round(410 * each) for each in speed]
    outcomes = {
        code: [round(total * share * chance.uniform(0.8, 1.2)) for total in totals]
        for code, share in SHARES.items()
    }
    outcomes["overloaded"] = [40 + count if second in bad else 0 for second, count in enumerate(totals)]
    ended = [float(sum(counts[second] for counts in outcomes.values())) for second in range(seconds)]
    told = [second > 2 and chance.random() > 0.02 for second in range(seconds)]
    told = [is_told and second not in bad[:3] for second, is_told in enumerate(told)]
    return Series(
        at_s=at_s,
        purchases_per_s=ended,
        requests_per_s=[each * 4.4 for each in ended],
        p50_ms=[None if second < 1 else each for second, each in enumerate(times)],
        p95_ms=[None if second < 1 else each * chance.uniform(2, 3) for second, each in enumerate(times)],
        p99_ms=[None if second < 1 else each * chance.uniform(4, 9) for second, each in enumerate(times)],
        outcomes=outcomes,
        under_way=[64 if second in bad else round(chance.uniform(50, 64)) for second in range(seconds)],
        server_cpu=[
            0.97 * speed[second] * chance.uniform(0.95, 1.05) if told[second] else None
            for second in range(seconds)
        ],
        server_memory_bytes=[
            (78 + 19 * second / seconds + chance.uniform(-1, 1)) * 2**20 if told[second] else None
            for second in range(seconds)
        ],
        store_memory_bytes=[
            (12 + 0.75 * second) * 2**20 if told[second] else None for second in range(seconds)
        ],
    )


def _outcomes(purchases: int) -> list[Outcome]:
    statuses = {
        "succeeded": 200,
        "confirmation_invalid": 422,
        "insufficient_funds": 402,
        "canceled": 200,
        "settlement_failed": 402,
        "daily_limit_exceeded": 402,
        "overloaded": 503,
    }
    return [
        _outcome("invoice", 201, "open", purchases),
        _outcome("start", 201, "requires_confirmation", purchases * 0.98),
        _outcome("start", 402, "insufficient_funds", purchases * 0.02),
        *(
            _outcome(operation, statuses[code], code, purchases * share)
            for operation in ("confirm", "purchase")
            for code, share in SHARES.items()
        ),
        _outcome("code", 200, "delivered", purchases * 1.3),
    ]


def _outcome(operation: str, status: int, code: str, count: float) -> Outcome:
    latency = _latency(len(code) / 2)
    return Outcome(operation=operation, status=status, code=code, count=round(count), latency=latency)


def _flows(purchases: int) -> list[FlowResult]:
    shares = {
        "pays": 0.7,
        "pays_on_second_try": 0.1,
        "confirms_twice": 0.08,
        "cancels": 0.03,
        "has_too_little": 0.04,
        "is_given_back": 0.05,
    }
    return [
        FlowResult(
            name=name,
            begun=round(purchases * share) + 3,
            ended=round(purchases * share),
            as_expected=round(purchases * share) - 5,
            turned_away=5,
            surprises={},
        )
        for name, share in shares.items()
    ]


def _audit(purchases: int, differences: list[Difference] | None = None) -> Audit:
    checked = Checked(
        entries=purchases + 200,
        users=200,
        wallets=200,
        invoices=purchases,
        payments=purchases,
        limits=1,
        messages=2 * purchases,
    )
    return Audit(clean=not differences, checked=checked, differences=differences or [])
