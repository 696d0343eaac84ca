"""Logs on standard error: lines of JSON for machines, or lines for people where somebody looks on.

A request is one line, too. It has ids, and never a code, a token or a secret: what a request said is not in it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Literal, TextIO

from pythonjsonlogger.json import JsonFormatter
from rich.console import Console
from rich.highlighter import NullHighlighter
from rich.logging import RichHandler

from technopay.http import OnRequest, Seen

LogFormat = Literal["auto", "json", "text"]

WHOLE_CHARACTERS_MAX = 1_024
"""Several processes write into one pipe: 4 KiB, of any characters, stay together there."""


def set_up_logging(
    level: str, log_format: LogFormat, stream: TextIO | None = None, *, worker: int | None = None
) -> OnRequest | None:
    """Send all logs to a stream; answer what logs requests, or None where their level is not wanted.

    Where there are several workers, each line says which of them wrote it.
    """
    stream = stream or sys.stderr
    as_json = log_format == "json" or (log_format == "auto" and not stream.isatty())
    handler: logging.Handler
    if as_json:
        handler = logging.StreamHandler(stream)
        names = {"levelname": "level", "name": "logger", "exc_info": "exception"}
        handler.setFormatter(
            JsonFormatter(
                "%(levelname)s %(name)s %(message)s",
                rename_fields=names,
                timestamp="at",
                static_fields={} if worker is None else {"worker": worker},
            )
        )
    else:
        handler = RichHandler(
            console=Console(file=stream), show_path=False, markup=False, highlighter=NullHighlighter()
        )
    text = "%(message)s" if worker is None else f"worker {worker} %(message)s"
    logging.basicConfig(level=level.upper(), format=text, handlers=[handler], force=True)
    if level not in ("debug", "info"):
        return None
    return RequestLog(stream, as_json=as_json, worker=worker)


class RequestLog:
    """Writes a line for each request; the lines of one loop tick leave together.

    It does without `logging`, whose records cost a tenth of what a whole request does.
    """

    def __init__(self, stream: TextIO, *, as_json: bool, worker: int | None = None) -> None:
        self._stream = stream
        self._line = _json_line if as_json else _text_line
        self._worker = worker
        self._lines: list[str] = []
        self._second = 0
        self._second_text = ""

    def __call__(self, seen: Seen) -> None:
        """Write down a request."""
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)
        self._lines.append(self._line(self._now(), seen, self._worker))

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        for piece in ["".join(lines)] if self._worker is None else _in_pieces(lines):
            self._stream.write(piece)
            self._stream.flush()

    def _now(self) -> str:
        """Answer the time as RFC 3339; to the second, it stays the same for many requests."""
        second, milliseconds = divmod(time.time_ns() // 1_000_000, 1000)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._second_text}.{milliseconds:03d}Z"


_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode


def _in_pieces(lines: Iterable[str]) -> Iterator[str]:
    """Join lines to pieces that no other process's lines come into."""
    piece = ""
    for line in lines:
        if piece and len(piece) + len(line) > WHOLE_CHARACTERS_MAX:
            yield piece
            piece = ""
        piece += line
    yield piece


def _json_line(at: str, seen: Seen, worker: int | None) -> str:
    fields: dict[str, Any] = {
        "at": at,
        "level": "INFO",
        "logger": "technopay.requests",
        "message": "request",
        "request_id": seen.request_id,
        "method": seen.method,
        "route": seen.template,
        "status": seen.status,
        "took_ms": round(seen.took_s * 1000, 3),
    }
    if worker is not None:
        fields["worker"] = worker
    if seen.code:
        fields["code"] = seen.code
    if seen.user_id:
        fields["caller"] = seen.user_id
    fields.update(seen.ids())
    return _encode(fields) + "\n"


def _text_line(at: str, seen: Seen, worker: int | None) -> str:
    words = [at[11:23]] if worker is None else [at[11:23], f"worker {worker}"]
    words += [f"{seen.method:4}", seen.template, str(seen.status), seen.code]
    words += [f"{1000 * seen.took_s:.1f} ms", seen.user_id, *seen.ids().values(), seen.request_id]
    return " ".join(word for word in words if word) + "\n"
