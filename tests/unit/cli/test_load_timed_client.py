"""Timed requests and the server's metrics: replies of all kinds, and none."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from support.fixtures.load import LOST, SILENCE, FakeServer, fake_server, payment_json

from technopay.cli.load import server_metrics
from technopay.cli.load.acknowledgements import Acknowledgements
from technopay.cli.load.recorder import Recorder
from technopay.cli.load.server_metrics import ServerMetrics, read_sample
from technopay.cli.load.timed_client import Reply, TimedClient, open_session, read_reply

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
def test_every_reply_has_a_code(status: int, text: bytes, expected: tuple[int, str]) -> None:
    reply = read_reply(status, text)

    assert (reply.status, reply.code) == expected
    assert reply.code != "not_json" or reply.body == {}


def test_only_replies_of_a_server_at_capacity_are_rejections() -> None:
    statuses = (0, 409, 429, 500, 503, 504)
    assert [each for each in statuses if Reply(each, "a_code", {}).is_rejected] == [0, 429, 503, 504]


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
    kept = Acknowledgements()
    server.answers["/v1/payments/pay_1/confirm"] = [(status, {"code": code})]

    await TimedClient(session, Recorder(), kept).confirm("confirm", "pay_1", {}, {"code": "123456"})

    assert kept.refusals == ({"pay_1": code} if is_kept else {})


async def test_a_reply_is_recorded_and_kept_and_its_latency_counts_from_when_it_was_due(
    served: Served,
) -> None:
    server, session = served
    recorder, kept = Recorder(), Acknowledgements()
    server.answers["/v1/payments"] = [(201, payment_json("requires_confirmation"))]
    now_s = asyncio.get_running_loop().time()

    reply = await TimedClient(session, recorder, kept).send(
        "start", "POST", "/v1/payments", {}, {"a": 1}, due_s=now_s - 7
    )

    assert (reply.status, reply.code) == (201, "requires_confirmation")
    assert recorder.outcomes == {("start", 201, "requires_confirmation"): 1}
    latency = recorder.success_latency("start")
    assert latency
    assert latency.p50_ms > 7_000
    assert kept.count == 1


async def test_without_a_reply_the_code_is_the_reason(served: Served) -> None:
    server, session = served
    recorder = Recorder()
    server.answers = {"/lost": [LOST], "/silence": [SILENCE]}
    timed = TimedClient(session, recorder, Acknowledgements())

    assert (await timed.send("start", "POST", "/lost", {})) == Reply(0, "connection_lost", {})
    async with aiohttp.ClientSession(server.url, timeout=aiohttp.ClientTimeout(total=0.05)) as impatient:
        late = await TimedClient(impatient, recorder, Acknowledgements()).send("look", "GET", "/silence", {})
    async with open_session("http://127.0.0.1:1", 1) as nowhere:
        refused = await TimedClient(nowhere, recorder, Acknowledgements()).send("look", "GET", "/", {})

    assert (late, refused) == (Reply(0, "no_answer_in_time", {}), Reply(0, "not_connected", {}))
    assert {key[1:] for key in recorder.outcomes} == {
        (0, "connection_lost"), (0, "no_answer_in_time"), (0, "not_connected")
    }  # fmt: skip
    assert server.asked["/lost"] == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ONE, (1.5, 2e6, 3_000)),
        (SEVERAL, (3.5, 300, 3_000)),
        *((text, (None, None, None)) for text in ("", "<html>", GARBAGE)),
    ],
    ids=["one", "several", "empty", "html", "garbage"],
)
def test_the_metrics_of_all_workers_are_added_up_and_unreadable_ones_unknown(
    text: str, expected: tuple[float | None, ...]
) -> None:
    found = read_sample(1.0, text)

    assert (found.cpu_s, found.memory_bytes, found.store_memory_bytes) == expected


async def test_metrics_that_do_not_come_are_unknown_and_the_next_ones_are_read(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_metrics, "DEADLINE_S", 0.2)
    server, session = served
    # aiohttp repeats a request once after a cut connection.
    server.answers["/metrics"] = [(404, ONE), LOST, LOST, SILENCE, (200, ONE)]
    metrics = ServerMetrics(session)

    for _ in range(4):
        await metrics.read()

    assert [sample.cpu_s for sample in metrics.samples] == [None, None, None, 1.5]
    assert metrics.requests == 4
