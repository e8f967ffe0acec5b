"""Probes of what a platform stands on: each looks at one thing, in a few seconds, and changes nothing."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from kapman_resources.errors import KapmanError

Status = Literal["ok", "warn", "fail"]

PATIENCE = 10.0
"""Seconds that a probe may take; they run side by side, so this is what the whole diagnosis takes at most."""


@dataclass(frozen=True)
class Finding:
    """What a probe found: what was looked at, the verdict, the numbers, and what to do about it (or nothing).

    Never holds a secret: a credential is there or it isn't.
    """

    name: str
    status: Status
    found: str
    fix: str = ""


Probe = Callable[[], Iterable[Finding]]


def diagnose(probes: Mapping[str, Probe], seconds: float = PATIENCE) -> Iterator[Finding]:
    """Run the probes side by side, and give their findings in the probes' order.

    A probe that raises, or has not ended after `seconds`, is a finding itself; what it had found before
    counts, and the others go on.
    """
    running = {name: _Running(name, probe) for name, probe in probes.items()}
    deadline = time.monotonic() + seconds
    for one in running.values():
        yield from one.findings(deadline, seconds)


class _Running:
    """A probe in a thread of its own: one that hangs in a library is left behind, not waited for."""

    def __init__(self, name: str, probe: Probe) -> None:
        self._name, self._found = name, list[Finding]()
        self._thread = threading.Thread(target=self._run, args=(probe,), name=f"probe {name}", daemon=True)
        self._thread.start()

    def _run(self, probe: Probe) -> None:
        self._found += collected(self._name, probe)

    def findings(self, deadline: float, seconds: float) -> Iterator[Finding]:
        self._thread.join(max(0.0, deadline - time.monotonic()))
        yield from list(self._found)
        if self._thread.is_alive():
            yield Finding(
                self._name,
                "fail",
                f"no answer within {seconds:g} s",
                "Look at what it waits for, then ask again.",
            )


def collected(name: str, probe: Probe) -> Iterator[Finding]:
    """The findings of a probe, and its failure as the last of them."""
    try:
        yield from probe()
    except KapmanError as error:
        yield Finding(name, "fail", error.what, error.fix)
    except Exception as error:
        # Its text may hold anything, a URL with a password too: the type has to do.
        yield Finding(name, "fail", f"the probe failed with {type(error).__name__}", "Report it as a bug.")
