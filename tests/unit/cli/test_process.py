"""What a process asks of the system: as many open files as it may have connections."""

from __future__ import annotations

import resource

import pytest

from technopay.cli.process import OTHER_FILES, allow_connections
from technopay.cli.settings import ConfigurationError

Limit = tuple[int, int]
UNLIMITED = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((1_024, 4_096), (1_000 + OTHER_FILES, 4_096)),
        ((1_024, UNLIMITED), (1_000 + OTHER_FILES, UNLIMITED)),
        ((2_048, 4_096), None),
        ((UNLIMITED, UNLIMITED), None),
    ],
)
def test_a_process_may_open_as_many_files_as_it_needs(
    monkeypatch: pytest.MonkeyPatch, before: Limit, after: Limit | None
) -> None:
    made: list[Limit] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: before)
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: made.append(limit))

    allow_connections(1_000, "TECHNOPAY_CONNECTIONS_MAX")

    assert made == ([after] if after else [])


def test_what_the_system_does_not_allow_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 1_024))

    with pytest.raises(ConfigurationError, match=r"^TECHNOPAY_CONNECTIONS_MAX: .* 1024; set it lower"):
        allow_connections(1_000, "TECHNOPAY_CONNECTIONS_MAX")
