"""The `kapman` command in a process of its own that stops at a gate, so that it can be killed there.

Everything imported, it waits for its one order, a line of JSON on standard input: `environment`, `arguments`,
and `gate`: `[module, attribute, call, half]`. At that call (counted from 1) it says `reached` on standard output
and goes no further: before the call, or, with `half`, when half of the chunks that the call yields or is given
have passed. What the command itself prints goes to standard error.
"""

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kapman_cli.main import main
from kapman_resources.settings import settings

OUT = os.dup(1)


def stop() -> None:
    """Say that the gate is reached, and wait for the end."""
    os.write(OUT, b"reached\n")
    while True:
        signal.pause()


def half_of(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The first half of the chunks, to the byte, and then the gate."""
    whole = b"".join(chunks)
    yield whole[: len(whole) // 2]
    stop()


def close(module: str, attribute: str, call: int, half: bool) -> None:
    """Put the gate before that call of a function, or of a method (`Class.method`)."""
    owner: Any = importlib.import_module(module)
    *classes, name = attribute.split(".")
    for one in classes:
        owner = getattr(owner, one)
    real: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def gate(*arguments: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != call:
            return real(*arguments, **keywords)
        if not half:
            stop()
        if len(arguments) == 1:  # a method that yields chunks
            return half_of(real(*arguments))
        *first, chunks = arguments
        return real(*first, half_of(chunks))

    setattr(owner, name, gate)


if __name__ == "__main__":
    if line := sys.stdin.readline():
        order = json.loads(line)
        os.environ.update(order["environment"])
        settings.cache_clear()
        close(*order["gate"])
        os.dup2(2, 1)
        sys.argv = ["kapman", *order["arguments"]]
        main()
