"""What goes over the wire: answers of all kinds, and none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from support.load import LOST, SILENCE, FakeServer, fake_server, payment_json

from technopay.cli.load import vitals as vitals_module
from technopay.cli.load.journal import Journal
from technopay.cli.load.recorder import Recorder
from technopay.cli.load.vitals import Vitals, read_vital
from technopay.cli.load.wire import Reply, Wire, open_session, read_reply

Served = tuple[FakeServer, aiohttp.ClientSession]

ONE = """# HELP process_cpu_seconds_total CPU
process_cpu_seconds_total 1.5
process_resident_memory_bytes 2e+06
technopay_store_memory_bytes 3000
process_cpu_seconds_total_more 99
"""
SEVERAL = """process_cpu_seconds_total{worker="1"} 1.5
process_cpu_seconds_total{worker="2"} 2
process_resident_memory_bytes{worker="1"} 100
process_resident_memory_bytes{worker="2"} 200
technopay_store_memory_bytes 3000
"""
GARBAGE = """process_cpu_seconds_total plenty
process_resident_memory_bytes NaN
technopay_store_memory_bytes +Inf
"""


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with fake_server() as both:
        yield both


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (200, b"<html>", (200, "not_json")), (502, b"", (502, "not_json")), (200, b"[1]", (200, "not_json")),
        (200, b"\xff", (200, "not_json")), (200, b"{}", (200, "ok")), (400, b"{}", (400, "no_code")),
        (200, b'{"status": 7}', (200, "no_code")), (201, b'{"status": "open"}', (201, "open")),
        (402, b'{"code": "insufficient_funds", "status": 402}', (402, "insufficient_funds")),
    ],
)  # fmt: skip
def test_an_answer_has_a_code_whatever_it_is(status: int, text: bytes, expected: tuple[int, str]) -> None:
    reply = read_reply(status, text)

    assert (reply.status, reply.code) == expected
    assert reply.code != "not_json" or reply.body == {}


@pytest.mark.parametrize(
    ("status", "is_turned_away"), [(0, True), (429, True), (503, True), (504, True), (500, False), (409, False)]
)
def test_only_what_the_server_may_do_under_load_is_turning_away(status: int, *, is_turned_away: bool) -> None:
    assert Reply(status, "a_code", {}).is_turned_away is is_turned_away


@pytest.mark.parametrize(
    ("status", "code", "is_kept"),
    [
        (402, "insufficient_funds", True), (409, "payment_not_confirmable", True), (429, "rate_limited", True),
        (402, "settlement_failed", False), (504, "outcome_unknown", False), (500, "internal_error", False),
        (200, "", False),
    ],
)  # fmt: skip
async def test_a_confirm_that_was_refused_is_kept(
    served: Served, status: int, code: str, *, is_kept: bool
) -> None:
    server, session = served
    journal = Journal()
    server.answers["/v1/payments/pay_1/confirm"] = [(status, {"code": code})]

    await Wire(session, Recorder(), journal).confirm("confirm", "pay_1", {}, {"code": "123456"})

    assert journal.refusals == ({"pay_1": code} if is_kept else {})


async def test_an_answer_is_written_down_and_heard_and_its_time_counts_from_when_it_was_due(
    served: Served,
) -> None:
    server, session = served
    recorder, journal = Recorder(), Journal()
    server.answers["/v1/payments"] = [(201, payment_json("requires_confirmation"))]
    now_s = asyncio.get_running_loop().time()

    reply = await Wire(session, recorder, journal).ask(
        "start", "POST", "/v1/payments", {}, {"a": 1}, due_s=now_s - 7
    )

    assert (reply.status, reply.code) == (201, "requires_confirmation")
    assert recorder.outcomes == {("start", 201, "requires_confirmation"): 1}
    assert recorder.successes_s("start")[0] > 7
    assert journal.acknowledged == 1


async def test_where_no_answer_comes_its_code_says_why(served: Served) -> None:
    server, session = served
    recorder = Recorder()
    server.answers = {"/lost": [LOST], "/silence": [SILENCE]}
    wire = Wire(session, recorder, Journal())

    assert (await wire.ask("start", "POST", "/lost", {})) == Reply(0, "connection_lost", {})
    async with aiohttp.ClientSession(server.url, timeout=aiohttp.ClientTimeout(total=0.05)) as impatient:
        late = await Wire(impatient, recorder, Journal()).ask("look", "GET", "/silence", {})
    async with open_session("http://127.0.0.1:1", 1) as nowhere:
        refused = await Wire(nowhere, recorder, Journal()).ask("look", "GET", "/", {})

    assert (late, refused) == (Reply(0, "no_answer_in_time", {}), Reply(0, "not_connected", {}))
    assert {key[1:] for key in recorder.outcomes} == {
        (0, "connection_lost"), (0, "no_answer_in_time"), (0, "not_connected")
    }  # fmt: skip
    assert server.asked["/lost"] == 1


def test_the_metrics_of_all_workers_are_added_up() -> None:
    one, several = read_vital(1.0, ONE), read_vital(2.0, SEVERAL)

    assert (one.cpu_s, one.memory_bytes, one.store_memory_bytes) == (1.5, 2e6, 3_000)
    assert (several.cpu_s, several.memory_bytes, several.store_memory_bytes) == (3.5, 300, 3_000)


@pytest.mark.parametrize("text", ["", "<html>", GARBAGE])
def test_metrics_that_do_not_tell_are_not_made_up(text: str) -> None:
    found = read_vital(1.0, text)

    assert (found.cpu_s, found.memory_bytes, found.store_memory_bytes) == (None, None, None)


async def test_metrics_that_do_not_come_are_unknown_and_the_next_ones_are_read(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vitals_module, "DEADLINE_S", 0.2)
    server, session = served
    # What is cut off is asked for once more by aiohttp.
    server.answers["/metrics"] = [(404, ONE), LOST, LOST, SILENCE, (200, ONE)]
    vitals = Vitals(session)

    for _ in range(4):
        await vitals.read()

    assert [vital.cpu_s for vital in vitals.all] == [None, None, None, 1.5]
    assert vitals.reads == 4
