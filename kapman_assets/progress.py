"""Progress of long loads in the log: sessions done, rows a second, time to go; at most every few seconds."""

import logging
import time

_EVERY_SECONDS = 5.0


class ProgressLog:
    """Callable that a loader tells what it has done: `progress(sessions, rows)`, totals so far."""

    def __init__(self, log: logging.Logger, what: str, sessions: int) -> None:
        self._log, self._what, self._total = log, what, sessions
        self._start = self._last = time.monotonic()

    def __call__(self, sessions: int, rows: int) -> None:
        """Log a line if the last one is old enough or the work is done."""
        now = time.monotonic()
        if now - self._last < _EVERY_SECONDS and sessions < self._total:
            return
        self._last = now
        elapsed = max(now - self._start, 1e-6)
        left = elapsed / sessions * (self._total - sessions) if sessions else 0.0
        self._log.info(
            f"{self._what}: {sessions} of {self._total} sessions, {rows:,} rows,"
            f" {rows / elapsed:,.0f} rows/s, {left:.0f} s to go"
        )
