"""Deadlines of the same length, with one timer for all of them."""

import asyncio
from types import TracebackType
from typing import Self


class Deadlines:
    """Makes deadlines of one length. They end in the order of their begin, so one timer is enough.

    `with deadlines.begin():` works like `async with asyncio.timeout(...)` at a tenth of the cost, because no
    timer is set and cancelled for each block.
    """

    def __init__(self, length_s: float) -> None:
        self._length_s = length_s
        # In the order in which they end.
        self._running: dict[Deadline, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> "Deadline":
        """Return a deadline that begins with its block and raises TimeoutError in it once it has passed."""
        return Deadline(self)

    def enter(self, deadline: "Deadline") -> float:
        """Watch a deadline; return when it ends."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._length_s
        self._running[deadline] = None
        if self._timer is None:
            self._timer = loop.call_at(ends_at, self._check)
        return ends_at

    def leave(self, deadline: "Deadline") -> None:
        """Stop watching a deadline."""
        self._running.pop(deadline, None)

    def _check(self) -> None:
        """End the blocks whose time is over, and set the timer for the next one."""
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._running:
            first = next(iter(self._running))
            if first.ends_at > now:
                self._timer = loop.call_at(first.ends_at, self._check)
                return
            del self._running[first]
            first.end()


class Deadline:
    """The time of one block."""

    __slots__ = ("_cancelling", "_deadlines", "_is_over", "_task", "ends_at")

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._is_over = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None, "a deadline can only end a task"
        self._task, self._cancelling = task, task.cancelling()
        self.ends_at = self._deadlines.enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.leave(self)
        # If the task was cancelled from elsewhere, too, the cancellation goes on.
        if self._is_over and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def end(self) -> None:
        """End the block with TimeoutError."""
        self._is_over = True
        self._task.cancel()
