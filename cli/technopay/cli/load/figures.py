"""Makes the result of a run from its records."""

import os
import platform
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from technopay.cli.load.recorder import Recorder
from technopay.cli.load.result import (
    Generator,
    Operation,
    Outcome,
    Plan,
    Result,
    Series,
    Server,
    Verdict,
)
from technopay.cli.load.server_metrics import MetricsSample, ServerMetrics
from technopay.cli.load.traffic import Traffic
from technopay.engine import __version__

CPU_MAX = 0.9
LAG_MS_MAX = 50.0
"""Beyond these, the load generator is too busy to measure a server."""

SECONDS_MIN = 3


def make_result(
    plan: Plan,
    began_at: datetime,
    recorder: Recorder,
    traffic: Traffic,
    metrics: ServerMetrics,
    verdict: Verdict,
) -> Result:
    recorder.finish()
    flows = list(traffic.tallies.values())
    ended, rejected = sum(flow.ended for flow in flows), sum(flow.turned_away for flow in flows)
    return Result(
        version=__version__,
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}",
        began_at=began_at,
        ran_s=round(traffic.ran_s, 3),
        ended_early=traffic.ended_early,
        plan=plan,
        operations=[
            Operation(
                name=name,
                count=count,
                per_s=round(recorder.in_time[name] / traffic.ran_s, 2) if traffic.ran_s else 0.0,
                latency=recorder.success_latency(name),
            )
            for name, count in sorted(recorder.counts().items())
        ],
        outcomes=[
            Outcome(
                operation=ending[0],
                status=ending[1],
                code=ending[2],
                count=count,
                latency=recorder.latencies[ending].latency(),
            )
            for ending, count in sorted(recorder.outcomes.items())
        ],
        rejected=round(rejected / ended, 6) if ended else 0.0,
        never_begun=traffic.never_begun,
        stories=flows,
        series=_series(recorder, metrics.samples, traffic),
        server=_server(recorder, metrics),
        generator=_generator(traffic),
        verdict=verdict,
    )


def _series(recorder: Recorder, samples: Sequence[MetricsSample], traffic: Traffic) -> Series:
    # The last second is not over; a short run has next to nothing without it.
    seconds = recorder.seconds[:-1] if len(recorder.seconds) > SECONDS_MIN else recorder.seconds
    codes = sum((second.outcomes for second in seconds), Counter[str]())
    cpu, memory, store = _metrics_series(samples, traffic.began_s, len(seconds))
    percentiles: dict[str, Known] = {
        name: [getattr(second.latency, name, None) for second in seconds]
        for name in ("p50_ms", "p95_ms", "p99_ms")
    }
    return Series(
        at_s=[float(number) for number in range(len(seconds))],
        purchases_per_s=[float(second.purchases) for second in seconds],
        requests_per_s=[float(second.requests) for second in seconds],
        outcomes={code: [second.outcomes[code] for second in seconds] for code, _ in codes.most_common()},
        under_way=[second.under_way for second in seconds],
        server_cpu=cpu,
        server_memory_bytes=memory,
        store_memory_bytes=store,
        **percentiles,
    )


Known = list[float | None]


def _metrics_series(samples: Sequence[MetricsSample], began_s: float, count: int) -> tuple[Known, Known, Known]:
    """Return the server's figures by second; None for a second without a sample."""
    cpu: Known = [None] * count
    memory: Known = [None] * count
    store: Known = [None] * count
    for before, after in pairwise(samples):
        if after.cpu_s is None:
            continue
        # A sample covers the time since the one before, which can begin and end in different seconds.
        for second in range(max(0, int(before.at_s - began_s)), min(count, int(after.at_s - began_s) + 1)):
            memory[second], store[second] = after.memory_bytes, after.store_memory_bytes
            if before.cpu_s is not None and after.cpu_s >= before.cpu_s:
                # A restarted worker counts from zero.
                cpu[second] = round((after.cpu_s - before.cpu_s) / (after.at_s - before.at_s), 3)
    return cpu, memory, store


def _server(recorder: Recorder, metrics: ServerMetrics) -> Server:
    cpu, memories, stores = (
        [value for sample in metrics.samples if (value := getattr(sample, name)) is not None]
        for name in ("cpu_s", "memory_bytes", "store_memory_bytes")
    )
    requests = recorder.requests + metrics.requests
    cpu_s = sum(max(0.0, after - before) for before, after in pairwise(cpu))
    return Server(
        cpu_us_per_request=round(1e6 * cpu_s / requests, 1) if len(cpu) > 1 and requests else None,
        memory_bytes_before=memories[0] if memories else None,
        memory_bytes_after=memories[-1] if memories else None,
        memory_bytes_max=max(memories, default=None),
        store_bytes_per_purchase=(
            round((stores[-1] - stores[0]) / recorder.paid, 1) if len(stores) > 1 and recorder.paid else None
        ),
    )


def _generator(traffic: Traffic) -> Generator:
    cpu = traffic.cpu_s / traffic.ran_s if traffic.ran_s else 0.0
    lag = traffic.lags.latency()
    lag_ms = lag.p99_ms if lag else 0.0
    is_to_be_trusted = cpu <= CPU_MAX and lag_ms <= LAG_MS_MAX
    return Generator(cpu=round(cpu, 3), lag_p99_ms=lag_ms, is_to_be_trusted=is_to_be_trusted)
