"""The keys and the compression of the vendor's bucket."""

import zlib
from datetime import date

BUCKET = "flatfiles"
PREFIX = "us_stocks_sip/day_aggs_v1/"
HEADER = ("ticker", "volume", "open", "close", "high", "low", "window_start", "transactions")


def key_of(session: date) -> str:
    """The bucket key of a session's file."""
    return f"{PREFIX}{session:%Y/%m}/{session}.csv.gz"


def gzipped(text: bytes) -> bytes:
    """`text` as a gzip file that holds no time and no name, so that equal content has equal bytes."""
    # Level 1: a full-scale market is 400 MB of text. wbits 31 writes the header that zlib itself makes;
    # gzip.compress has changed a byte of it between Python releases.
    compressor = zlib.compressobj(level=1, wbits=31)
    return compressor.compress(text) + compressor.flush()


def gunzipped(body: bytes) -> bytes:
    """The text of a gzip file of any number of members."""
    text = b""
    while body:
        member = zlib.decompressobj(wbits=31)
        text += member.decompress(body)
        body = member.unused_data
    return text
