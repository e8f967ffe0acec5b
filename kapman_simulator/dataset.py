"""A market read from a dataset folder: the bucket's objects byte for byte, the API's pages contract by contract."""

import gzip
import re
from datetime import date
from pathlib import Path

import msgspec

from kapman_simulator.market import Market, Ticker, Unservable

LAYOUT = """A dataset is a folder with at least one of
  flatfiles/us_stocks_sip/day_aggs_v1/YYYY/MM/YYYY-MM-DD.csv.gz   the bucket's objects
  reference/tickers/<as-of date>.pages.jsonl.gz                   one page {"results":[…]} a line
  options/<session date>/<underlying>.pages.jsonl.gz              one page of contracts a line"""

_PAGES = ".pages.jsonl.gz"
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


class _Page(msgspec.Struct):
    results: list[msgspec.Raw] = []


class _TickerFields(msgspec.Struct):
    ticker: str
    market: str = "stocks"
    type: str | None = None
    active: bool = True


def read_dataset(folder: Path, today: date | None) -> Market:
    """The market of `folder` on `today`; None takes the newest session with options, else the newest file's.

    Objects of later days are left out: on that day they don't exist yet. What the folder lacks is served as empty.
    Unservable says why a folder is no dataset.
    """
    if not any((folder / part).is_dir() for part in ("flatfiles", "reference/tickers", "options")):
        raise Unservable(f"{folder} is not a dataset.\n{LAYOUT}")
    objects = {
        path.relative_to(folder / "flatfiles").as_posix(): path for path in _below(folder / "flatfiles", "*")
    }
    references = _by_date(folder / "reference" / "tickers")
    chains = _by_date(folder / "options")
    newest = max(chains or filter(None, map(_day_of, objects)) or references, default=None)
    day = today or newest
    if day is None:
        raise Unservable(f"{folder} holds no file with a date.\n{LAYOUT}")
    notes = []
    if day not in chains:
        notes.append(f"No option chains of {day} in {folder}: they are served as empty.")
    known = {key: path for key, path in objects.items() if (_day_of(key) or day) <= day}
    if len(known) < len(objects):
        notes.append(f"{len(objects) - len(known)} files of days after {day} are left out.")
    return Market(
        name="dataset-" + re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-"),
        today=day,
        files={key: known[key].read_bytes() for key in sorted(known)},
        tickers=_tickers(references, day),
        chains={
            path.name.removesuffix(_PAGES): _rows(path) for path in _below(chains.get(day), f"*{_PAGES}")
        },
        notes=notes,
    )


def _below(folder: Path | None, pattern: str) -> list[Path]:
    return (
        sorted(path for path in folder.rglob(pattern) if path.is_file()) if folder and folder.is_dir() else []
    )


def _day_of(name: str) -> date | None:
    found = _DATE.search(name)
    return date.fromisoformat(found[0]) if found else None


def _by_date(folder: Path) -> dict[date, Path]:
    """What lies in `folder`, by the date in its name."""
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    return {day: path for path in inside if (day := _day_of(path.name))}


def _tickers(references: dict[date, Path], day: date) -> list[Ticker]:
    """The rows of the newest list that isn't after `day`, else of the oldest; sorted by symbol."""
    if not references:
        return []
    path = references[max((known for known in references if known <= day), default=min(references))]
    rows = []
    for row in _rows(path):
        fields = msgspec.json.decode(row, type=_TickerFields)
        rows.append(Ticker(fields.ticker, fields.market, fields.type or "", fields.active, row))
    return sorted(rows, key=lambda row: row.symbol)


def _rows(path: Path) -> list[bytes]:
    """The results of every page of a file, as they stand there."""
    decoder = msgspec.json.Decoder(_Page)
    rows: list[bytes] = []
    try:
        with gzip.open(path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    rows += map(bytes, decoder.decode(line).results)
                except msgspec.DecodeError as error:
                    raise Unservable(f"Line {number} of {path} is no page: {error}.\n{LAYOUT}") from error
    except (OSError, EOFError) as error:
        raise Unservable(f"{path} can't be read: {error}.") from error
    return rows
