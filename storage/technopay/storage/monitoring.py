"""Whether a store works, and its gauges: figures about all engines on it, from all partitions in reach."""

import asyncio
from collections.abc import Sequence

from technopay.engine.errors import Fault, OutcomeUnknown, StoreUnavailable
from technopay.engine.models import Limit
from technopay.engine.ports import Outcome
from technopay.engine.reads import ReadLimits
from technopay.engine.statistics import StoreGauges
from technopay.storage.commands import ReadGauges, ReadMeta
from technopay.storage.decode import Raw
from technopay.storage.partitions import Partitions
from technopay.storage.server.health import ServerInfo

MEASURE_S_MAX = 1.0
"""How long a measurement waits for partitions, where there are several."""


async def ping(partitions: Partitions, sample: Sequence[int]) -> None:
    """Return when one partition of a sample replies.

    Raises:
        StoreUnavailable: none does.

    """
    pending = {partitions[number].send_once(ReadMeta()) for number in sample}
    error: BaseException | None = None
    for look in pending:
        look.add_done_callback(lambda each: each.cancelled() or each.exception())  # a later one is not awaited
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            if (error := each.exception()) is None:
                return
    if error is not None and not isinstance(error, OutcomeUnknown):
        raise error
    raise StoreUnavailable("The store did not reply.") from error


async def measure(partitions: Partitions, server: ServerInfo | None) -> StoreGauges:
    """Measure a store. Partitions that do not reply in time are counted, not waited for.

    Raises:
        StoreUnavailable, OutcomeUnknown: no partition replies.

    """
    if len(partitions) == 1:
        found, limits = await partitions.run_each(ReadGauges()), await partitions.run(ReadLimits())
    else:
        found, limits = await asyncio.gather(_read_each(partitions), _read_limits(partitions))
    figures = [tuple(map(int, each)) for outcome in found for each in outcome.value or ((0, 0, 0, -1),)]
    message_ages, set_aside_ages, set_aside, archive_lags = zip(*figures, strict=True)
    return StoreGauges(
        message_age_ms=max(message_ages),
        payments_set_aside=sum(set_aside),
        set_aside_age_ms=max(set_aside_ages),
        partitions_unreachable=len(partitions) - len(found),
        limits=limits.value or [],
        archive_lag_ms=max(archive_lags) if max(archive_lags) >= 0 else None,
        memory_bytes=server.used_bytes if server else None,
        memory_bytes_max=server.max_bytes if server else None,
        server=server.version if server else None,
    )


async def _read_each(partitions: Partitions) -> Sequence[Outcome[Raw]]:
    reading = [asyncio.ensure_future(each.send_once(ReadGauges())) for each in partitions]
    done, late = await asyncio.wait(reading, timeout=MEASURE_S_MAX)
    for each in late:
        each.cancel()
    found = [each.result() for each in done if not each.exception()]
    if not found:
        raise next((error for each in done if isinstance(error := each.exception(), Fault)), StoreUnavailable())
    return found


async def _read_limits(partitions: Partitions) -> Outcome[list[Limit]]:
    """Read the limits; none while a partition that has used a part of them is out of reach."""
    try:
        async with asyncio.timeout(MEASURE_S_MAX):
            return await partitions.run(ReadLimits())
    except (Fault, TimeoutError):
        return Outcome("ok", [])
