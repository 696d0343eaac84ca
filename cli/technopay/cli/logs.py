"""Logs on standard error: lines of JSON for machines, or lines for people on a terminal.

A request is one line, too. It has ids, and never a code, a token or a secret: its content is not logged.
"""

import atexit
import logging
import os
import re
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TextIO

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic_core import to_json

from technopay.http.access_record import RequestObserver, RequestRecord

LogFormat = Literal["auto", "json", "text"]
Show = Callable[[Mapping[str, Any]], str]
"""Makes a line of fields: `at`, `level`, `logger`, `message`, then the others."""

CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
OWN_ATTRIBUTES = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
WAITING_CHARACTERS_MAX = 4 * 1024 * 1024
"""Lines that wait to be written; further ones are dropped and counted."""
WHOLE_BYTES_MAX = 4_096
"""Of several processes that write to one pipe, so many bytes stay together."""
PIECE_BYTES_MAX = 65_536
PAUSE_S = 0.1
"""Between two writes: a thread that wakes for each line would slow down the event loop."""
FAILED_PAUSE_S = 1.0
FLUSH_S_MAX = 1.0


class LogWriter:
    """Writes lines from a thread of its own: a pipe without a reader or a full disk stops nothing else."""

    def __init__(self, descriptor: int, show_dropped: Callable[[int], str], *, is_shared: bool = False) -> None:
        self._descriptor = descriptor
        self._show_dropped = show_dropped
        self._piece_bytes_max = WHOLE_BYTES_MAX if is_shared else PIECE_BYTES_MAX
        # A plain lock: that of a condition doubles the cost of a line.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting: list[str] = []
        self._characters = 0
        self._unreported = 0
        self._is_torn = False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
        self._thread.start()
        self.dropped = 0
        """Lines that were not written."""

    def write(self, line: str) -> None:
        """Queue a line; never wait."""
        with self._lock:
            if self._characters + len(line) > WAITING_CHARACTERS_MAX:
                self._drop(1)
                return
            if not self._waiting:
                self._changed.notify()
            self._waiting.append(line)
            self._characters += len(line)

    def close(self, within_s: float = FLUSH_S_MAX) -> None:
        """Write the queue, in bounded time."""
        self._ending.set()
        with self._changed:
            self._changed.notify()
        self._thread.join(within_s)

    def _drop(self, count: int) -> None:
        self.dropped += count
        self._unreported += count

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    if self._ending.is_set():
                        return
                    self._changed.wait()
                lines, self._waiting = self._waiting, []
            is_last_try = self._ending.is_set()
            written = self._write(lines)
            with self._changed:
                self._characters -= sum(map(len, lines))
                if written < len(lines):
                    self._drop(len(lines) - written)
                elif self._unreported:
                    self._waiting.append(self._show_dropped(self._unreported))
                    self._unreported = 0
                elif not self._waiting and self._ending.is_set():
                    return
            self._ending.wait(PAUSE_S if written == len(lines) else FAILED_PAUSE_S)
            if written < len(lines) and is_last_try:
                return

    def _write(self, lines: list[str]) -> int:
        """Write lines in pieces that stay together; return the number of whole lines written."""
        written, piece = 0, [b"\n"] if self._is_torn else []
        size = count = 0
        for line in [*lines, ""]:
            encoded = line.encode(errors="backslashreplace")
            if piece and (not encoded or size + len(encoded) > self._piece_bytes_max):
                if not self._write_piece(b"".join(piece)):
                    return written
                written, piece, size, count = written + count, [], 0, 0
            piece.append(encoded)
            size += len(encoded)
            count += 1
        return written

    def _write_piece(self, piece: bytes) -> bool:
        while piece:
            try:
                taken = os.write(self._descriptor, piece)
            except BlockingIOError:
                select.select([], [self._descriptor], [], FAILED_PAUSE_S)
                continue
            except OSError:
                return False
            piece = piece[taken:]
            self._is_torn = bool(piece)
        return True


_writers: list[LogWriter] = []


def set_up_logging(
    level: str, log_format: LogFormat, stream: TextIO | None = None, *, worker: int | None = None
) -> RequestObserver | None:
    """Send all logs to a stream; return the log of requests, or None if their level is not logged.

    With several workers, each line has the number of its worker.
    """
    stream = stream or sys.stderr
    as_json = log_format == "json" or (log_format == "auto" and not stream.isatty())
    show: Show = _json_line if as_json else _text_line
    if worker is not None:
        show = _with_worker(show, worker)
    for each in _writers:
        each.close()

    def show_dropped(count: int) -> str:
        message = f"{count} lines of the log were dropped: they could not be written in time"
        return show(_fields("WARNING", __name__, message))

    try:
        descriptor = stream.fileno()
    except OSError:
        descriptor = 2  # a program has replaced standard error
    writer = LogWriter(descriptor, show_dropped, is_shared=worker is not None)
    _writers[:] = [writer]
    atexit.register(writer.close)
    logging.basicConfig(level=level.upper(), handlers=[_Handler(writer, show)], force=True)
    logging.captureWarnings(True)
    sys.unraisablehook = _log_unraisable
    threading.excepthook = _log_unraisable
    if level not in ("debug", "info"):
        return None
    return RequestLog(writer, show)


class LogCollector(Collector):
    """The metric of dropped lines."""

    def collect(self) -> Iterator[Metric]:
        dropped = sum(writer.dropped for writer in _writers)
        yield CounterMetricFamily(
            "technopay_log_lines_dropped", "Lines of the log that were not written.", value=dropped
        )


class RequestLog:
    """Writes a line for each request, without `logging`: its records cost a tenth of a request."""

    def __init__(self, writer: LogWriter, show: Show) -> None:
        self._writer = writer
        self._show = show

    def __call__(self, record: RequestRecord) -> None:
        fields = {
            **_fields("INFO", "technopay.requests", "request"),
            "request_id": record.request_id,
            "method": record.method,
            "route": record.template,
            "status": record.status,
            "took_ms": round(record.took_s * 1000, 3),
        }
        if record.client:
            fields["client"] = record.client
        if record.code:
            fields["code"] = record.code
        if record.user_id:
            fields["caller"] = record.user_id
        fields |= record.ids()
        self._writer.write(self._show(fields))


class _Handler(logging.Handler):
    """Writes records of `logging` in the same form as requests."""

    def __init__(self, writer: LogWriter, show: Show) -> None:
        super().__init__()
        self._writer = writer
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception as error:
            message = f"{record.msg} ({type(error).__name__}: {error})"
        fields = _fields(record.levelname, record.name, message, record.created)
        fields.update((name, value) for name, value in vars(record).items() if name not in OWN_ATTRIBUTES)
        if record.exc_info and record.exc_info[0]:
            fields["exception"] = logging.Formatter().formatException(record.exc_info)
        self._writer.write(self._show(fields))


def _fields(level: str, name: str, message: str, at: float | None = None) -> dict[str, Any]:
    return {
        "at": _show_time(time.time() if at is None else at),
        "level": level,
        "logger": name,
        "message": message,
    }


_second = (0, "")


def _show_time(at: float) -> str:
    """Write a time as RFC 3339; many lines share its second."""
    global _second
    second, milliseconds = divmod(int(at * 1000), 1000)
    known, text = _second
    if second != known:
        text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        _second = (second, text)
    return f"{text}{milliseconds:03d}Z"


def _json_line(fields: Mapping[str, Any]) -> str:
    try:
        return to_json(fields).decode() + "\n"
    except ValueError:
        # A lone surrogate, or a type without a form in JSON.
        return to_json({name: _plain(value) for name, value in fields.items()}).decode() + "\n"


def _text_line(fields: Mapping[str, Any]) -> str:
    shown = dict(fields)
    at, exception = shown.pop("at")[11:23], shown.pop("exception", None)
    words = [at, f"worker {shown.pop('worker')}" if "worker" in shown else "", shown.pop("level")]
    if shown.pop("logger") == "technopay.requests":
        del shown["message"]
        shown["took_ms"] = f"{shown['took_ms']:.1f} ms"
    line = " ".join(str(word) for word in [*words, *shown.values()] if word)
    line = CONTROL_CHARACTER.sub(lambda found: ascii(found[0])[1:-1], line)
    return f"{line}\n{exception}\n" if exception else f"{line}\n"


def _with_worker(show: Show, worker: int) -> Show:
    return lambda fields: show({**fields, "worker": worker})


def _plain(value: object) -> str:
    return str(value).encode(errors="backslashreplace").decode()


def _log_unraisable(error: Any) -> None:
    """Log an exception that ended a thread, or of a finalizer."""
    where = getattr(error, "object", None) or getattr(error, "thread", None)
    logging.getLogger(__name__).error(
        "an exception in %r", where, exc_info=(error.exc_type, error.exc_value, error.exc_traceback)
    )
