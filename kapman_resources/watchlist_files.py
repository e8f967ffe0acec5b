"""Watchlist files: one list per `*.txt`, one symbol a line, `#` starts a comment; case is kept."""

import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from kapman_resources.errors import SourceError
from kapman_resources.manifest import Quarantined

# The vendor's symbols: BRK.B, XYZpA, I:SPX, X.WS; never changed in case.
_SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:/-]{0,31}")


@dataclass(frozen=True)
class WatchlistFiles:
    """What the files say.

    frame: watchlist_id (String), symbol (String), source (String: the file's name); unique, sorted.
    invalid: what stands where a symbol should be and is none, without comment and blanks around it.
    repeated: symbols listed twice in one file, as `file:line: symbol`.
    """

    frame: pl.DataFrame
    invalid: list[Quarantined]
    repeated: list[str]

    @property
    def invalid_lines(self) -> list[str]:
        """`invalid` as people read it: `file:line: 'text'`, control characters escaped."""
        return [f"{row.source}:{row.line}: {row.raw.decode(errors='replace')!r}" for row in self.invalid]


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
    invalid: list[Quarantined] = []
    repeated: list[str] = []
    for file in files:
        found = 0
        for number, line in enumerate(file.read_bytes().splitlines(), 1):
            raw = line.split(b"#", 1)[0].strip()
            symbol = raw.decode(errors="replace").strip()
            if not symbol:
                continue
            if not _SYMBOL.fullmatch(symbol):
                invalid.append(Quarantined(file.name, number, raw, "not a symbol"))
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
