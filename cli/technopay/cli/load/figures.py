"""Makes the result of a run out of what was written down."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from technopay.cli.load.recorder import Recorder, percentile
from technopay.cli.load.result import (
    Generator,
    Latency,
    Operation,
    Outcome,
    Plan,
    Result,
    Series,
    Server,
    Story,
    Verdict,
)
from technopay.cli.load.traffic import Traffic
from technopay.cli.load.vitals import Vital, Vitals
from technopay.http.app import VERSION

CPU_MAX = 0.9
LAG_S_MAX = 0.05
"""Beyond these, this program is too busy to say how fast a server is."""

SECONDS_MIN = 3


def make_result(
    plan: Plan,
    began_at: datetime,
    recorder: Recorder,
    traffic: Traffic,
    vitals: Vitals,
    verdict: Verdict,
) -> Result:
    """Put the result together."""
    return Result(
        version=VERSION,
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}",
        began_at=began_at,
        ran_s=round(traffic.ran_s, 3),
        ended_early=traffic.ended_early,
        plan=plan,
        operations=[
            _operation(name, count, recorder, traffic.ran_s)
            for name, count in sorted(recorder.counts().items())
        ],
        outcomes=[
            Outcome(
                operation=ending[0],
                status=ending[1],
                code=ending[2],
                count=count,
                latency=_latency(recorder.latencies_s.get(ending, ())),
            )
            for ending, count in sorted(recorder.outcomes.items())
        ],
        rejected=_rejected(traffic),
        never_begun=traffic.never_begun,
        stories=[
            Story(
                name=story.__name__,
                begun=tally.begun,
                ended=tally.ended,
                as_expected=tally.as_expected,
                turned_away=tally.turned_away,
                surprises=dict(tally.surprises.most_common()),
            )
            for story, tally in traffic.tallies.items()
        ],
        series=_series(recorder, vitals.all, traffic),
        server=_server(recorder, vitals),
        generator=_generator(traffic),
        verdict=verdict,
    )


def _operation(name: str, count: int, recorder: Recorder, ran_s: float) -> Operation:
    per_s = round(recorder.in_time[name] / ran_s, 2) if ran_s else 0.0
    return Operation(name=name, count=count, per_s=per_s, latency=_latency(recorder.successes_s(name)))


def _rejected(traffic: Traffic) -> float:
    ended = sum(tally.ended for tally in traffic.tallies.values())
    rejected = sum(tally.turned_away for tally in traffic.tallies.values())
    return round(rejected / ended, 6) if ended else 0.0


def _latency(latencies_s: Sequence[float]) -> Latency | None:
    if not latencies_s:
        return None
    ordered = sorted(latencies_s)
    p50_ms, p95_ms, p99_ms = (_ms(percentile(ordered, share)) for share in (0.5, 0.95, 0.99))
    return Latency(p50_ms=p50_ms, p95_ms=p95_ms, p99_ms=p99_ms, max_ms=_ms(ordered[-1]))


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)


def _series(recorder: Recorder, vitals: Sequence[Vital], traffic: Traffic) -> Series:
    # The last second is not over; it is shown where there would be next to nothing without it.
    seconds = recorder.seconds[:-1] if len(recorder.seconds) > SECONDS_MIN else recorder.seconds
    ordered = [sorted(second.latencies_s) for second in seconds]
    codes = Counter[str]()
    for second in seconds:
        codes.update(second.outcomes)
    cpu, memory, store = _vital_series(vitals, traffic.began_s, len(seconds))
    return Series(
        at_s=[float(number) for number in range(len(seconds))],
        purchases_per_s=[float(second.purchases) for second in seconds],
        requests_per_s=[float(second.requests) for second in seconds],
        p50_ms=[_ms(percentile(each, 0.5)) if each else None for each in ordered],
        p95_ms=[_ms(percentile(each, 0.95)) if each else None for each in ordered],
        p99_ms=[_ms(percentile(each, 0.99)) if each else None for each in ordered],
        outcomes={code: [second.outcomes[code] for second in seconds] for code, _ in codes.most_common()},
        under_way=[second.under_way for second in seconds],
        server_cpu=cpu,
        server_memory_bytes=memory,
        store_memory_bytes=store,
    )


Known = list[float | None]


def _vital_series(vitals: Sequence[Vital], began_s: float, count: int) -> tuple[Known, Known, Known]:
    """Answer the server's figures by second; where it was not asked or did not tell, None."""
    cpu: Known = [None] * count
    memory: Known = [None] * count
    store: Known = [None] * count
    for before, vital in pairwise(vitals):
        if vital.cpu_s is None:
            continue
        # Each tells of the time since the one before, which can begin and end in different seconds.
        for second in range(max(0, int(before.at_s - began_s)), min(count, int(vital.at_s - began_s) + 1)):
            memory[second], store[second] = vital.memory_bytes, vital.store_memory_bytes
            if before.cpu_s is not None and vital.cpu_s >= before.cpu_s:
                # A worker that was started again counts from zero.
                cpu[second] = round((vital.cpu_s - before.cpu_s) / (vital.at_s - before.at_s), 3)
    return cpu, memory, store


def _server(recorder: Recorder, vitals: Vitals) -> Server:
    known = [vital for vital in vitals.all if vital.cpu_s is not None]
    memories = [vital.memory_bytes for vital in known if vital.memory_bytes is not None]
    stores = [vital.store_memory_bytes for vital in known if vital.store_memory_bytes is not None]
    requests = recorder.requests + vitals.reads
    cpu_s = 0.0
    for before, after in pairwise(known):
        assert before.cpu_s is not None
        assert after.cpu_s is not None
        cpu_s += max(0.0, after.cpu_s - before.cpu_s)
    return Server(
        cpu_us_per_request=round(1e6 * cpu_s / requests, 1) if len(known) > 1 and requests else None,
        memory_bytes_before=memories[0] if memories else None,
        memory_bytes_after=memories[-1] if memories else None,
        memory_bytes_max=max(memories, default=None),
        store_bytes_per_purchase=(
            round((stores[-1] - stores[0]) / recorder.paid, 1) if len(stores) > 1 and recorder.paid else None
        ),
    )


def _generator(traffic: Traffic) -> Generator:
    cpu = traffic.cpu_s / traffic.ran_s if traffic.ran_s else 0.0
    lag_s = percentile(sorted(traffic.lags_s), 0.99) if traffic.lags_s else 0.0
    return Generator(
        cpu=round(cpu, 3),
        lag_p99_ms=_ms(lag_s),
        is_to_be_trusted=cpu <= CPU_MAX and lag_s <= LAG_S_MAX,
    )
