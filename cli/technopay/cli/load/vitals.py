"""What the server says of itself while a run goes on: its `/metrics`, once a second."""

from __future__ import annotations

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
class Vital:
    """What the server used, at one time of the loop's clock; None where it does not tell."""

    at_s: float
    cpu_s: float | None
    memory_bytes: float | None
    store_memory_bytes: float | None


class Vitals:
    """Reads the metrics, all workers' together."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._clock = asyncio.get_running_loop().time
        self.all: list[Vital] = []
        self.reads = 0
        """Requests that this made."""

    async def watch(self) -> None:
        """Read once a second, until it is cancelled."""
        while True:
            await self.read()
            await asyncio.sleep(INTERVAL_S)

    async def read(self) -> Vital:
        """Read once."""
        text = ""
        self.reads += 1
        try:
            async with asyncio.timeout(DEADLINE_S), self._session.get("/metrics") as response:
                if response.status == 200:
                    text = await response.text()
        except (aiohttp.ClientError, OSError, TimeoutError, UnicodeDecodeError):
            text = ""
        found = read_vital(self._clock(), text)
        self.all.append(found)
        return found


def read_vital(at_s: float, text: str) -> Vital:
    """Read metrics in Prometheus' text format; what several workers tell is added up."""
    sums: dict[str, float] = {}
    for name, value in SAMPLE.findall(text):
        with suppress(ValueError):
            sums[name] = sums.get(name, 0.0) + float(value)
    sums = {name: value for name, value in sums.items() if math.isfinite(value)}
    return Vital(
        at_s,
        sums.get("process_cpu_seconds_total"),
        sums.get("process_resident_memory_bytes"),
        sums.get("technopay_store_memory_bytes"),
    )
