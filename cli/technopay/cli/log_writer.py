"""Writes log lines from a thread of its own: a pipe that nobody reads or a full disk stops nothing else."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

WAITING_CHARACTERS_MAX = 4 * 1024 * 1024
"""Lines that wait to be written; what does not fit is dropped and counted."""
WHOLE_BYTES_MAX = 4_096
"""Where several processes write into one pipe, so many bytes stay together there."""
PIECE_BYTES_MAX = 65_536
PAUSE_S = 0.1
"""Between two writes: a thread that is woken for each line would slow down the event loop."""
FAILED_PAUSE_S = 1.0
FLUSH_S_MAX = 1.0


class LogWriter:
    """Takes lines, and writes them to a file descriptor in their order."""

    def __init__(self, descriptor: int, show_dropped: Callable[[int], str], *, is_shared: bool = False) -> None:
        self._descriptor = descriptor
        self._show_dropped = show_dropped
        self._piece_bytes_max = WHOLE_BYTES_MAX if is_shared else PIECE_BYTES_MAX
        # A plain lock: that of a condition costs each line as much as the rest of this.
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
        """Have a line written soon. It never waits."""
        with self._lock:
            if self._characters + len(line) > WAITING_CHARACTERS_MAX:
                self._drop(1)
                return
            if not self._waiting:
                self._changed.notify()
            self._waiting.append(line)
            self._characters += len(line)

    def close(self, within_s: float = FLUSH_S_MAX) -> None:
        """Write what waits, but not for longer than this."""
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
        """Write lines in pieces that stay together; return how many were written to their end."""
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
