"""Progress of long loads in the log: what is done, how fast, time to go; at most every few seconds."""

import logging
import time

_EVERY_SECONDS = 5.0


class ProgressLog:
    """Callable that a loader tells what it has done: `progress(sessions, rows)`, totals so far.

    units: what is counted in the place of sessions and rows.
    """

    def __init__(
        self, log: logging.Logger, what: str, total: int, units: tuple[str, str] = ("sessions", "rows")
    ) -> None:
        self._log, self._what, self._total = log, what, total
        self._whole, self._part = units
        self._start = self._last = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the work began."""
        return max(time.monotonic() - self._start, 1e-6)

    def __call__(self, done: int, parts: int) -> None:
        """Log a line if the last one is old enough or the work is done."""
        now = time.monotonic()
        if now - self._last < _EVERY_SECONDS and done < self._total:
            return
        self._last = now
        elapsed = self.seconds
        left = elapsed / done * (self._total - done) if done else 0.0
        self._log.info(
            f"{self._what}: {done} of {self._total} {self._whole}, {parts:,} {self._part},"
            f" {parts / elapsed:,.0f} {self._part}/s, {left:.0f} s to go"
        )
