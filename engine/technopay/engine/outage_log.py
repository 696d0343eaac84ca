"""Logs an outage: when it begins, once a minute, and when it ends."""

import logging
from time import monotonic

REMINDER_S = 60.0


class OutageLog:
    def __init__(self, logger: logging.Logger, failing: str, working: str) -> None:
        self._logger = logger
        self._failing = failing
        self._working = working
        self._began_s: float | None = None
        self._reminder_s = 0.0
        self._failed_s = 0.0

    def fail(self, reason: object, *, exc_info: bool | BaseException = False) -> None:
        """Log a failure if it is the first one or a minute has passed."""
        now = self._failed_s = monotonic()
        if self._began_s is None:
            self._began_s = now
            self._logger.error("%s: %s", self._failing, reason, exc_info=exc_info)
        elif now >= self._reminder_s:
            lasts_s = round(now - self._began_s)
            self._logger.error("%s for %d s: %s", self._failing, lasts_s, reason, exc_info=exc_info)
        else:
            return
        self._reminder_s = now + REMINDER_S

    def end(self, *, quiet_s: float = 0.0) -> None:
        """Log the end of the outage, if the last failure was so long ago."""
        if self._began_s is None or monotonic() < self._failed_s + quiet_s:
            return
        self._logger.warning("%s after %d s", self._working, round(monotonic() - self._began_s))
        self._began_s = None
