"""Logs: lines of JSON for machines and of words for people, with ids and without what was said."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import select
from collections.abc import Iterator

import pytest

from technopay.cli.logs import set_up_logging
from technopay.http import Seen
from technopay.http.user_routes import USER_ROUTES

CONFIRM = next(route for route in USER_ROUTES if route.operation_id == "confirmPayment")
AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def a_confirm(payment_id: str = "pay_001") -> Seen:
    return Seen(
        "req-1", 0.0, {"payment_id": payment_id}, route=CONFIRM, user_id="alice", status=402,
        code="insufficient_funds", took_s=0.0123,
    )  # fmt: skip


async def written(stream: io.StringIO) -> list[str]:
    """The lines, which leave at the end of a loop tick."""
    await asyncio.sleep(0)
    return stream.getvalue().splitlines()


async def test_a_request_is_a_line_of_json_with_its_ids() -> None:
    stream = io.StringIO()
    log_request = set_up_logging("info", "auto", stream)
    assert log_request

    log_request(a_confirm())

    (line,) = map(json.loads, await written(stream))
    assert AT.fullmatch(line.pop("at"))
    assert line == {
        "level": "INFO",
        "logger": "technopay.requests",
        "message": "request",
        "request_id": "req-1",
        "method": "POST",
        "route": "/v1/payments/{payment_id}/confirm",
        "status": 402,
        "took_ms": 12.3,
        "code": "insufficient_funds",
        "caller": "alice",
        "payment_id": "pay_001",
    }


async def test_the_lines_of_a_tick_leave_together_and_in_order() -> None:
    stream = io.StringIO()
    log_request = set_up_logging("info", "json", stream)
    assert log_request

    for number in range(3):
        log_request(a_confirm(f"pay_{number}"))
    assert stream.getvalue() == ""

    ids = [json.loads(line)["payment_id"] for line in await written(stream)]
    assert ids == ["pay_0", "pay_1", "pay_2"]
    log_request(a_confirm("pay_3"))
    assert len(await written(stream)) == 4


async def test_what_is_no_id_of_ours_is_not_written_down() -> None:
    stream = io.StringIO()
    log_request = set_up_logging("info", "json", stream)
    assert log_request

    log_request(a_confirm("123456"))

    assert "123456" not in stream.getvalue() + "".join(await written(stream))


async def test_a_terminal_gets_words() -> None:
    stream = Terminal()
    log_request = set_up_logging("info", "auto", stream)
    assert log_request

    log_request(a_confirm())

    (line,) = await written(stream)
    assert line.split()[1:] == [
        "POST", "/v1/payments/{payment_id}/confirm", "402", "insufficient_funds", "12.3", "ms", "alice",
        "pay_001", "req-1",
    ]  # fmt: skip


@pytest.mark.parametrize("level", ["warning", "error"])
def test_a_level_above_leaves_requests_out(level: str) -> None:
    assert set_up_logging(level, "json", io.StringIO()) is None


def test_what_else_is_logged_is_json_too_with_its_ids_and_its_traceback() -> None:
    stream = io.StringIO()
    set_up_logging("info", "json", stream)
    logger = logging.getLogger("technopay.test")

    logger.warning("payment %s is set aside", "pay_1", extra={"payment_id": "pay_1"})
    try:
        raise RuntimeError("odd")
    except RuntimeError:
        logger.exception("a defect")
    logger.debug("not this")

    said, crashed = map(json.loads, stream.getvalue().splitlines())
    assert said.pop("at")
    assert said == {
        "level": "WARNING", "logger": "technopay.test", "message": "payment pay_1 is set aside",
        "payment_id": "pay_1",
    }  # fmt: skip
    assert "RuntimeError: odd" in crashed["exception"]


def test_what_else_is_logged_is_for_people_on_a_terminal() -> None:
    stream = Terminal()
    set_up_logging("info", "auto", stream)

    logging.getLogger("technopay.test").warning("payment [b]pay_1[/b] is set aside")

    assert "WARNING" in stream.getvalue()
    assert "payment [b]pay_1[/b] is set aside" in stream.getvalue()


async def test_of_several_workers_every_line_says_which_one_wrote_it() -> None:
    as_json, as_words = io.StringIO(), Terminal()
    for stream in (as_json, as_words):
        log_request = set_up_logging("info", "auto", stream, worker=1)
        assert log_request
        log_request(a_confirm())
        logging.getLogger("technopay.test").warning("odd")
        await asyncio.sleep(0)

    assert [json.loads(line)["worker"] for line in as_json.getvalue().splitlines()] == [1, 1]
    assert as_words.getvalue().count("worker 1") == 2


async def test_lines_of_several_workers_leave_in_pieces_that_stay_whole_in_a_pipe() -> None:
    class Pipe(io.StringIO):
        pieces: list[str] = []  # noqa: RUF012 - there is one

        def write(self, text: str) -> int:
            self.pieces.append(text)
            return len(text)

    log_request = set_up_logging("info", "json", stream := Pipe(), worker=0)
    assert log_request
    for number in range(40):
        log_request(a_confirm(f"pay_{number}"))
    await asyncio.sleep(0)

    assert 1 < len(stream.pieces) < 40
    assert all(len(piece.encode()) <= select.PIPE_BUF and piece.endswith("\n") for piece in stream.pieces)
    told = [json.loads(line)["payment_id"] for line in "".join(stream.pieces).splitlines()]
    assert told == [f"pay_{number}" for number in range(40)]
