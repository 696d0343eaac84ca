"""Logs on standard error: lines of JSON for machines, or lines for people where somebody looks on.

A request is one line, too. It has ids, and never a code, a token or a secret: what a request said is not in it.
"""

from __future__ import annotations

import atexit
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TextIO

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic_core import to_json

from technopay.cli.log_writer import LogWriter
from technopay.http.seen import OnRequest, Seen

LogFormat = Literal["auto", "json", "text"]
Show = Callable[[Mapping[str, Any]], str]
"""Makes a line of fields: `at`, `level`, `logger`, `message`, then what else there is."""

CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
OWN_ATTRIBUTES = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
_writers: list[LogWriter] = []


def set_up_logging(
    level: str, log_format: LogFormat, stream: TextIO | None = None, *, worker: int | None = None
) -> OnRequest | None:
    """Send all logs to a stream; answer what logs requests, or None where their level is not wanted.

    Where there are several workers, each line says which of them wrote it.
    """
    stream = stream or sys.stderr
    as_json = log_format == "json" or (log_format == "auto" and not stream.isatty())
    show: Show = _json_line if as_json else _text_line
    if worker is not None:
        show = _with_worker(show, worker)
    for each in _writers:
        each.close()

    def show_dropped(count: int) -> str:
        message = f"{count} lines of the log were dropped: nobody read them, or they could not be written"
        return show(_fields("WARNING", __name__, message))

    try:
        descriptor = stream.fileno()
    except OSError:
        descriptor = 2  # a stream that a program has put in the place of standard error
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
    """Tells how much of the log was lost."""

    def collect(self) -> Iterator[Metric]:
        """Answer the metrics."""
        dropped = sum(writer.dropped for writer in _writers)
        yield CounterMetricFamily(
            "technopay_log_lines_dropped", "Lines of the log that were not written.", value=dropped
        )


class RequestLog:
    """Writes a line for each request. It does without `logging`, whose records cost a tenth of a request."""

    def __init__(self, writer: LogWriter, show: Show) -> None:
        self._writer = writer
        self._show = show

    def __call__(self, seen: Seen) -> None:
        """Write down a request."""
        fields = {
            **_fields("INFO", "technopay.requests", "request"),
            "request_id": seen.request_id,
            "method": seen.method,
            "route": seen.template,
            "status": seen.status,
            "took_ms": round(seen.took_s * 1000, 3),
        }
        if seen.client:
            fields["client"] = seen.client
        if seen.code:
            fields["code"] = seen.code
        if seen.user_id:
            fields["caller"] = seen.user_id
        fields |= seen.ids()
        self._writer.write(self._show(fields))


class _Handler(logging.Handler):
    """Writes records of `logging` in the same shape as requests."""

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
    """Write a time as RFC 3339; to the second, it stays the same for many lines."""
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
        # A lone surrogate, or something that JSON has no form for.
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
    """Log an exception that ended a thread, or that nobody could have caught."""
    where = getattr(error, "object", None) or getattr(error, "thread", None)
    logging.getLogger(__name__).error(
        "an exception in %r", where, exc_info=(error.exc_type, error.exc_value, error.exc_traceback)
    )
