"""A process: output in whole lines, as many open files as connections, and work on many items."""

import asyncio
import io
import resource
import sys

import pytest

from technopay.cli.load.command import fit_plan
from technopay.cli.load.plan import ScenarioName, make_plan
from technopay.cli.process import OTHER_FILES, allow_connections, fit_connections, for_each, say
from technopay.cli.settings import ConfigurationError, Settings

Limit = tuple[int, int]
UNLIMITED = resource.RLIM_INFINITY


def test_a_line_is_written_in_one_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[str] = []

    class Output(io.StringIO):
        def write(self, piece: str) -> int:
            written.append(piece)
            return len(piece)

    # With PYTHONUNBUFFERED, which containers set, each of them is a write of its own.
    monkeypatch.setattr(sys, "stdout", Output())
    say("technopay: draining")

    assert list(filter(None, written)) == ["technopay: draining\n"]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Limit]:
    """The limits set by the process."""
    limits: list[Limit] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: limits.append(limit))
    return limits


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((1_024, 4_096), [(1_000 + OTHER_FILES, 4_096)]),
        ((1_024, UNLIMITED), [(1_000 + OTHER_FILES, UNLIMITED)]),
        ((2_048, 4_096), []),
        ((UNLIMITED, UNLIMITED), []),
    ],
)
def test_a_process_may_open_as_many_files_as_it_needs(
    monkeypatch: pytest.MonkeyPatch, made: list[Limit], before: Limit, after: list[Limit]
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: before)

    allow_connections(1_000, "TECHNOPAY_CONNECTIONS_MAX")

    assert made == after


@pytest.mark.parametrize(("hard", "allowed"), [(1_024, 896), (256, 128), (128, 64)])
def test_a_default_is_lowered_to_the_systems_limit_with_one_warning_and_a_setting_refused_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch,
    made: list[Limit],
    caplog: pytest.LogCaptureFixture,
    hard: int,
    allowed: int,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, hard))

    assert fit_connections(Settings()).connections_max == allowed

    assert made == [(hard, hard)]
    assert len(caplog.records) == 1
    assert f"{hard} open files, so there can be {allowed} connections" in caplog.text
    with pytest.raises(ConfigurationError, match=rf"^TECHNOPAY_CONNECTIONS_MAX: .* {hard}; set it lower"):
        fit_connections(Settings(connections_max=1_000))


def test_only_a_default_concurrency_of_a_load_is_lowered(
    monkeypatch: pytest.MonkeyPatch, made: list[Limit]
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (128, 128))
    plan = make_plan("http://h", ScenarioName.PLAIN, 1, 1, None, None)

    assert fit_plan(plan, is_default=True).concurrency == (64 - 16) // 2
    with pytest.raises(ConfigurationError, match="--concurrency"):
        fit_plan(plan, is_default=False)


async def test_the_first_failure_of_work_on_many_items_is_raised_and_ends_the_rest() -> None:
    begun: list[int] = []

    async def work(item: int) -> None:
        begun.append(item)
        await asyncio.sleep(0)
        if item == 3:
            raise ValueError(item)

    with pytest.raises(ValueError, match="3"):
        await for_each(range(100), work, 2)
    assert begun[:4] == [0, 1, 2, 3]
    assert len(begun) < 10
