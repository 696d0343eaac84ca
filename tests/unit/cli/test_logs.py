"""Logs: lines of JSON, or of words on a terminal, with ids and without the content of requests."""

import json
import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from technopay.cli import logs
from technopay.cli.logs import set_up_logging
from technopay.http.access_record import RequestObserver, RequestRecord
from technopay.http.app import API_ROUTES

CONFIRM = next(route for route in API_ROUTES if route.operation_id == "confirmPayment")
AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


LOGGER = logging.getLogger("technopay.test")


class Log:
    """A log file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+")
        self.is_terminal = False

    def fileno(self) -> int:
        return self._file.fileno()

    def isatty(self) -> bool:
        return self.is_terminal

    def set_up(self, level: str = "info", log_format: Any = "auto", **options: int) -> RequestObserver | None:
        return set_up_logging(level, log_format, cast("Any", self), **options)

    def set_up_requests(self, **options: Any) -> RequestObserver:
        observer = self.set_up(**options)
        assert observer
        return observer

    def lines(self) -> list[str]:
        """End the log; return its lines."""
        logs._writers[0].close(10)
        return Path(self._file.name).read_text().splitlines()

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    opened = Log(tmp_path / "log")
    yield opened
    opened._file.close()


def a_confirm(payment_id: str = "pay_001") -> RequestRecord:
    return RequestRecord(
        "req-1", 0.0, {"payment_id": payment_id}, template=CONFIRM.path, method="POST", user_id="alice",
        client="192.0.2.1", status=402, code="insufficient_funds", took_s=0.0123,
    )  # fmt: skip


def test_requests_and_other_records_are_lines_of_json_with_their_ids(log: Log) -> None:
    log_request = log.set_up_requests()

    log_request(a_confirm())
    log_request(a_confirm("123456"))
    LOGGER.warning("payment %s is set aside", "pay_1", extra={"payment_id": "pay_1"})
    LOGGER.debug("not this")

    line, foreign, other = log.records()
    for each in (line, foreign, other):
        assert AT.fullmatch(each.pop("at"))
    assert foreign == {name: value for name, value in line.items() if name != "payment_id"}
    assert line == {
        "level": "INFO", "logger": "technopay.requests", "message": "request", "request_id": "req-1",
        "method": "POST", "route": "/v1/payments/{payment_id}/confirm", "status": 402, "took_ms": 12.3,
        "client": "192.0.2.1", "code": "insufficient_funds", "caller": "alice", "payment_id": "pay_001",
    }  # fmt: skip
    assert other == {
        "level": "WARNING", "logger": "technopay.test", "message": "payment pay_1 is set aside",
        "payment_id": "pay_1",
    }  # fmt: skip


def test_lines_of_all_threads_are_in_order(log: Log) -> None:
    log_request = log.set_up_requests()
    for number in range(1_000):
        log_request(a_confirm(f"pay_00{number}"))
        LOGGER.warning("%d", number)

    lines = log.records()
    assert [line["payment_id"] for line in lines[::2]] == [f"pay_00{number}" for number in range(1_000)]
    assert [line["message"] for line in lines[1::2]] == [str(number) for number in range(1_000)]


def test_a_terminal_gets_words(log: Log) -> None:
    log.is_terminal = True
    log_request = log.set_up_requests()

    log_request(a_confirm())
    LOGGER.warning("payment [b]pay_1[/b] is \x1b[31mset aside\n")

    request, other = log.lines()
    assert request.split()[1:] == [
        "INFO", "req-1", "POST", "/v1/payments/{payment_id}/confirm", "402", "12.3", "ms",
        "192.0.2.1", "insufficient_funds", "alice", "pay_001",
    ]  # fmt: skip
    assert other.split(" ", 1)[1] == r"WARNING payment [b]pay_1[/b] is \x1b[31mset aside\n"


@pytest.mark.parametrize("level", ["warning", "error"])
def test_a_level_above_leaves_requests_out(log: Log, level: str) -> None:
    assert log.set_up(level) is None


def crash_a_thread() -> None:
    def crash() -> None:
        raise RuntimeError("odd")

    thread = threading.Thread(target=crash)
    thread.start()
    thread.join()


def crash_while_deleted() -> None:
    class Odd:
        def __del__(self) -> None:
            raise RuntimeError("odd")

    Odd()


def crash_and_log() -> None:
    try:
        raise RuntimeError("odd")
    except RuntimeError:
        logging.getLogger("asyncio").exception("a defect")


def warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("RuntimeError: odd", stacklevel=1)


@pytest.mark.parametrize("happen", [crash_a_thread, crash_while_deleted, crash_and_log, warn])
def test_every_record_has_one_form(log: Log, happen: Callable[[], None]) -> None:
    log.set_up("warning", "json")

    happen()

    (line,) = log.records()
    assert list(line)[:4] == ["at", "level", "logger", "message"]
    assert AT.fullmatch(line["at"])
    assert "RuntimeError: odd" in line.get("exception", line["message"])


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_record_that_cannot_be_written_as_it_is_loses_no_line(log: Log, is_terminal: bool) -> None:
    log.is_terminal = is_terminal
    log.set_up()

    LOGGER.warning("a lone \udcff, NUL \0", extra={"odd": object(), "none": None})
    LOGGER.warning("%d of %s", "many")

    first, second = log.lines()
    assert r"a lone \\udcff" in first or r"a lone \udcff" in first
    assert "%d of %s (TypeError" in second


def test_every_line_of_several_workers_has_the_number_of_its_worker(log: Log) -> None:
    log_request = log.set_up_requests(worker=0)
    log_request(a_confirm())
    LOGGER.warning("odd")

    assert [line["worker"] for line in log.records()] == [0, 0]

    log.is_terminal = True
    log.set_up(worker=1)
    LOGGER.warning("odd")
    assert log.lines()[-1].endswith("worker 1 WARNING odd")
