"""Watchlist files: one list per `*.txt`, one symbol a line, `#` starts a comment; case is kept."""

import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from kapman_resources.errors import SourceError

# The vendor's symbols: BRK.B, XYZpA, I:SPX, X.WS; never changed in case.
_SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:/-]{0,31}")


@dataclass(frozen=True)
class WatchlistFiles:
    """What the files say.

    frame: watchlist_id (String), symbol (String), source (String: the file's name); unique, sorted.
    invalid: lines that are no symbol, as `file:line: text`.
    repeated: symbols listed twice in one file, as `file:line: symbol`.
    """

    frame: pl.DataFrame
    invalid: list[str]
    repeated: list[str]


def read_watchlists(folder: Path) -> WatchlistFiles:
    """Read every list of the folder.

    Raises:
        SourceError: no list, or a list without a single valid symbol (an empty list would deactivate
            everything it held: more likely a broken file than a wish).
    """
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise SourceError(
            f"There is no watchlist (*.txt) in {folder}.",
            fix="Put a file with one symbol a line there, or point KAPMAN_WATCHLISTS at the folder.",
        )
    rows: dict[tuple[str, str], str] = {}
    invalid: list[str] = []
    repeated: list[str] = []
    for file in files:
        found = 0
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            symbol = line.split("#", 1)[0].strip()
            if not symbol:
                continue
            if not _SYMBOL.fullmatch(symbol):
                invalid.append(f"{file.name}:{number}: {symbol}")
                continue
            found += 1
            if (file.stem, symbol) in rows:
                repeated.append(f"{file.name}:{number}: {symbol}")
            rows[file.stem, symbol] = file.name
        if not found:
            raise SourceError(
                f"Watchlist {file} lists no symbol.",
                fix="Put one symbol a line into it, or delete the file to deactivate the list.",
            )
    frame = pl.DataFrame(
        [(name, symbol, source) for (name, symbol), source in sorted(rows.items())],
        schema={"watchlist_id": pl.String, "symbol": pl.String, "source": pl.String},
        orient="row",
    )
    return WatchlistFiles(frame, invalid, repeated)
