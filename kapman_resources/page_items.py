"""Items of the vendor's list pages: typed in bulk, and their raw text on demand for those that are unusable."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import msgspec
import polars as pl

from kapman_resources.errors import VendorError

Rejected = tuple[bytes, str]
"""An unusable item: its raw JSON and the reason."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """Read-only JSON object; unknown keys are skipped."""


_T = TypeVar("_T", bound=Record)


class _TypedPage(msgspec.Struct, Generic[_T], gc=False):
    results: list[_T]


class _RawResults(msgspec.Struct, gc=False):
    results: list[msgspec.Raw]


_raw_results = msgspec.json.Decoder(_RawResults).decode


@functools.cache
def _decoders(item: type) -> tuple[Callable[[bytes], Any], Callable[[msgspec.Raw], Any]]:
    """Decoders of a whole page whose `results` are all of that type, and of one item."""
    return msgspec.json.Decoder(_TypedPage[item]).decode, msgspec.json.Decoder(item).decode  # type: ignore[valid-type]


class Items(Generic[_T]):
    """Typed items page by page, and how to find each one's raw text again; `read` counts all, usable or not.

    Iterated once: a page's items are to become columns before the next page is decoded. The objects of one
    page fit into a core's cache, those of a whole chain don't, and then take twice as long.
    """

    def __init__(self, pages: Iterable[bytes], item: type[_T]) -> None:
        self._pages = pages
        self._typed_page, self._typed_item = _decoders(item)
        self._sources: list[tuple[int, Callable[[], Sequence[msgspec.Raw]]]] = []
        self._usable = 0
        self.read = 0
        self.rejected: list[Rejected] = []

    def __iter__(self) -> Iterator[list[_T]]:
        """The items of each page that have the right types; positions count on from page to page.

        Raises:
            VendorError: a page is not a JSON object with a list `results`.
        """
        for number, body in enumerate(self._pages, start=1):
            raw_items: Callable[[], Sequence[msgspec.Raw]]
            try:
                items = self._typed_page(body).results
                # The raw texts are cut out only when one of this page's items turns out to be unusable.
                raw_items = functools.partial(_cut, body, number)
                self.read += len(items)
            except (msgspec.DecodeError, UnicodeDecodeError):
                raws = _cut(body, number)
                items, kept = self._one_by_one(raws)
                raw_items = functools.partial(tuple, kept)
                self.read += len(raws)
            self._sources.append((self._usable, raw_items))
            self._usable += len(items)
            yield items

    def _one_by_one(self, raws: Sequence[msgspec.Raw]) -> tuple[list[_T], list[msgspec.Raw]]:
        items, kept = [], []
        for raw in raws:
            try:
                items.append(self._typed_item(raw))
                kept.append(raw)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                self.rejected.append((bytes(raw), f"wrong type: {error}"))
        return items, kept

    def reject(self, found: pl.DataFrame) -> None:
        """Move items to the rejected ones; `found` has their positions `row` (ascending) and a `reason`."""
        bounds = [*(first for first, _ in self._sources), self._usable]
        rows = found.select("row", "reason").rows()
        for page, (first, raw_items) in enumerate(self._sources):
            mine = [(row - first, reason) for row, reason in rows if first <= row < bounds[page + 1]]
            if mine:
                raws = raw_items()
                self.rejected += [(bytes(raws[row]), reason) for row, reason in mine]

    def all_rejected(self) -> list[Rejected]:
        """The rejected items in an order that doesn't depend on the pages."""
        return sorted(self.rejected)


def _cut(body: bytes, number: int) -> list[msgspec.Raw]:
    try:
        return _raw_results(body).results
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise VendorError(
            f"Page {number} can't be decoded: {error}.",
            fix="Fetch the subject again; if the page came from the vault, run its verification.",
        ) from None


def first_reason(rules: Sequence[tuple[pl.Expr, str]]) -> pl.Expr:
    """The reason of the first rule that applies, else null."""
    return pl.coalesce(pl.when(applies).then(pl.lit(reason)) for applies, reason in rules)
