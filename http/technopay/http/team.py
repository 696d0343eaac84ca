"""Metrics of several processes that serve together, at one address: whoever is asked asks the others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from prometheus_client.core import GaugeMetricFamily, Metric


class Team(Protocol):
    """The processes that serve together."""

    @property
    def name(self) -> str:
        """Which of the workers this process is."""
        ...

    async def ask(self) -> Mapping[str, bytes | None]:
        """Answer what all other workers tell, in bounded time; None for one that does not answer.

        Whoever tells something, but is no worker, is under a name that is no number.
        """
        ...


def write_families(families: Iterable[Metric]) -> bytes:
    """Write metrics down for another process."""
    return json.dumps(
        [
            [
                each.name,
                each.documentation,
                each.type,
                [[one.name, one.labels, one.value] for one in each.samples],
            ]
            for each in families
        ]
    ).encode()


def read_families(told: bytes) -> list[Metric]:
    """Read metrics that another process wrote down."""
    families = []
    for name, text, kind, samples in json.loads(told):
        family = Metric(name, text, kind)
        for sample, labels, value in samples:
            family.add_sample(sample, labels, value)
        families.append(family)
    return families


def merge(told: Mapping[str, Iterable[Metric]]) -> list[Metric]:
    """Bring the families of several processes together, each once; every sample says whose it is."""
    merged: dict[str, Metric] = {}
    for process, families in told.items():
        for family in families:
            whole = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                whole.add_sample(sample.name, {"worker": process, **sample.labels}, sample.value)
    return list(merged.values())


def presence(told: Mapping[str, Any]) -> list[Metric]:
    """Tell which workers there are, and which of them answer."""
    workers = {name: answer is not None for name, answer in told.items() if name.isdigit()}
    up = GaugeMetricFamily(
        "technopay_worker_up", "Whether a worker answered for these metrics.", labels=["worker"]
    )
    for name, is_up in sorted(workers.items(), key=lambda each: int(each[0])):
        up.add_metric([name], is_up)
    return [GaugeMetricFamily("technopay_workers", "Workers that there should be.", value=len(workers)), up]
