"""A simulator of one's own for a test: a child process with both servers on free ports."""

import multiprocessing
import signal
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

from kapman_simulator.options import MarketOptions

_SERVERS = multiprocessing.get_context("forkserver")


class Simulator:
    """The vendor in a child process, between `with Simulator(…) as vendor:` and its end.

    options: the generated market, or only its `today` where a dataset is served. faults: as on the command line,
    `NAME` or `NAME=VALUE`. dataset: a folder to serve in place of the generated market. The child ends with its
    parent, however that ends.
    """

    def __init__(
        self, options: MarketOptions | None = None, *, faults: Iterable[str] = (), dataset: Path | None = None
    ) -> None:
        self._arguments = (options or MarketOptions(), tuple(faults), dataset)
        self.environment: dict[str, str] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Return when both servers accept connections; RuntimeError, with the reason, if they can't."""
        _SERVERS.set_forkserver_preload(["kapman_simulator.warm"])
        self._pipe, theirs = _SERVERS.Pipe()
        self._child = _SERVERS.Process(target=_serve, args=(theirs, *self._arguments), daemon=True)
        self._child.start()
        theirs.close()
        self.environment = self._ask()

    def set_faults(self, faults: Iterable[str]) -> None:
        """Replace the faults while serving; none of them means a vendor in good health."""
        self._pipe.send(tuple(faults))
        self._ask()

    def stop(self) -> None:
        """End the child."""
        self._child.terminate()
        self._child.join()
        self._pipe.close()

    def _ask(self) -> dict[str, str]:
        """The child's next word: the settings that lead to it, or the sentence that it ended with."""
        try:
            environment, sentence = self._pipe.recv()
        except EOFError:
            environment, sentence = {}, "The simulator's process ended; its own output says why."
        if sentence:
            self.stop()
            raise RuntimeError(sentence)
        return dict(environment)


def _serve(pipe: Connection, options: MarketOptions, faults: tuple[str, ...], dataset: Path | None) -> None:
    """The child: serve until the parent ends, changing faults when it says so."""
    # Imported here: the parent needs none of it, and Polars must not be loaded in the process that forks.
    from kapman_simulator.market import Unservable  # noqa: PLC0415
    from kapman_simulator.serving import open_vendor  # noqa: PLC0415

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    try:
        vendor = open_vendor(options, faults=faults, dataset=dataset)
        vendor.start()
        while True:
            pipe.send((vendor.environment, ""))
            vendor.set_faults(pipe.recv())
    except Unservable as error:
        pipe.send(({}, str(error)))
    except EOFError:
        return  # the parent has ended
