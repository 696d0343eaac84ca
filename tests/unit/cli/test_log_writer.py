"""The writer of logs: no caller waits, and lines that do not fit are dropped and counted."""

import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from technopay.cli import logs
from technopay.cli.logs import LogWriter

LINE = "x" * 99 + "\n"


Pipe = tuple[int, int]


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    monkeypatch.setattr(logs, "FAILED_PAUSE_S", 0.01)
    reading, writing = os.pipe()
    yield reading, writing
    for each in (reading, writing):
        with suppress(OSError):
            os.close(each)


def read_until(descriptor: int, end: bytes) -> bytes:
    read = b""
    while not read.endswith(end):
        read += os.read(descriptor, 65_536)
    return read


def make(descriptor: int, *, is_shared: bool = False) -> LogWriter:
    return LogWriter(descriptor, lambda count: f"dropped {count}\n", is_shared=is_shared)


def test_a_pipe_without_reads_blocks_no_writer_and_gets_the_count_of_dropped_lines(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "WAITING_CHARACTERS_MAX", 500_000)
    writer = make(pipe[1])

    for _ in range(20_000):
        writer.write(LINE)

    assert 14_000 < writer.dropped < 15_010
    read = read_until(pipe[0], b"dropped %d\n" % writer.dropped)
    assert read.count(LINE.encode()) + writer.dropped == 20_000
    writer.write("back\n")
    assert read_until(pipe[0], b"back\n") == b"back\n"
    writer.close()


def test_the_end_writes_all_lines_in_bounded_time(pipe: Pipe) -> None:
    stuck = make(pipe[1])
    for _ in range(2_000):
        stuck.write(LINE)
    began = time.monotonic()
    stuck.close(0.05)
    assert stuck._thread.is_alive()
    assert time.monotonic() - began < 30

    # A closed writer ends after its last write.
    stuck.write("last\n")
    reading = threading.Thread(target=read_until, args=(pipe[0], b"last\n"))
    reading.start()
    stuck.close(30)
    reading.join(30)
    assert not reading.is_alive()
    assert not stuck._thread.is_alive()


def test_a_closed_pipe_does_no_harm_and_its_successor_gets_the_count(pipe: Pipe) -> None:
    os.close(pipe[0])
    writer = make(pipe[1])
    writer.write(LINE)
    while not writer.dropped:
        time.sleep(0.001)

    again, writing = os.pipe()
    os.dup2(writing, pipe[1])
    writer.write("back\n")
    assert read_until(again, b"dropped 1\n").startswith(b"back\n")
    writer.close(10)
    os.close(again)
    os.close(writing)


def test_a_pipe_that_does_not_block_is_waited_for(pipe: Pipe) -> None:
    os.set_blocking(pipe[1], False)
    writer = make(pipe[1])
    for _ in range(2_000):
        writer.write(LINE)
    writer.write("last\n")
    assert read_until(pipe[0], b"last\n").count(b"\n") == 2_001
    assert writer.dropped == 0
    writer.close(10)


def test_the_lines_of_several_processes_stay_whole_in_one_pipe(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces: list[bytes] = []

    def write(_: int, piece: bytes) -> int:
        pieces.append(piece)
        return len(piece)

    monkeypatch.setattr(os, "write", write)
    writer = make(pipe[1], is_shared=True)
    for _ in range(400):
        writer.write("é" * 50 + "\n")
    writer.close(10)

    assert b"".join(pieces).count(b"\n") == 400
    assert len(pieces) < 400
    assert all(len(piece) <= select.PIPE_BUF and piece.endswith(b"\n") for piece in pieces)


def test_a_line_that_was_torn_by_a_full_disk_does_not_spoil_the_next(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []

    def write(_: int, piece: bytes) -> int:
        if len(written) == 1:
            written.append(b"")
            raise OSError(28, "No space left on device")
        written.append(piece[: 3 if not written else None])
        return len(written[-1])

    monkeypatch.setattr(os, "write", write)
    writer = make(pipe[1])
    writer.write("torn line\n")
    while not writer.dropped:
        time.sleep(0.001)
    writer.write("next\n")
    writer.close(10)

    assert b"".join(written) == b"tor\nnext\ndropped 1\n"
