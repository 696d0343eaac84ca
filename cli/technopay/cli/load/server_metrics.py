"""The server's own `/metrics` during a run, once a second."""

import asyncio
import math
import re
from contextlib import suppress
from dataclasses import dataclass

import aiohttp

SAMPLE = re.compile(
    r"^(process_cpu_seconds_total|process_resident_memory_bytes|technopay_store_memory_bytes)"
    r"(?:\{[^}]*\})? (\S+)$",
    re.MULTILINE,
)
INTERVAL_S = 1.0
DEADLINE_S = 5.0


@dataclass(frozen=True, slots=True)
class MetricsSample:
    """The use of resources at one time of the loop's clock; None is not known."""

    at_s: float
    cpu_s: float | None
    memory_bytes: float | None
    store_memory_bytes: float | None


class ServerMetrics:
    """Samples of all workers together."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._clock = asyncio.get_running_loop().time
        self.samples: list[MetricsSample] = []
        self.requests = 0

    async def watch(self) -> None:
        """Read once a second, until it is cancelled."""
        while True:
            await self.read()
            await asyncio.sleep(INTERVAL_S)

    async def read(self) -> None:
        text = ""
        self.requests += 1
        with suppress(aiohttp.ClientError, OSError, TimeoutError, UnicodeDecodeError):
            async with asyncio.timeout(DEADLINE_S), self._session.get("/metrics") as response:
                if response.status == 200:
                    text = await response.text()
        self.samples.append(read_sample(self._clock(), text))


def read_sample(at_s: float, text: str) -> MetricsSample:
    """Parse metrics in Prometheus' text format; the values of several workers are added up."""
    sums: dict[str, float] = {}
    for name, value in SAMPLE.findall(text):
        with suppress(ValueError):
            sums[name] = sums.get(name, 0.0) + float(value)
    sums = {name: value for name, value in sums.items() if math.isfinite(value)}
    return MetricsSample(
        at_s,
        sums.get("process_cpu_seconds_total"),
        sums.get("process_resident_memory_bytes"),
        sums.get("technopay_store_memory_bytes"),
    )
