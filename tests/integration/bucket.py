"""A bucket of flat files on moto's S3 server, and files to put into it."""

import datetime as dt
import gzip
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import boto3  # type: ignore[import-untyped]
import httpx
import polars as pl
from moto.server import ThreadedMotoServer

from kapman_resources.flat_file_decoding import NEW_YORK
from kapman_resources.flat_files import FlatFiles, key_of
from kapman_resources.tables import TICKER_NAMESPACE

SECRET = "a-secret-of-forty-characters-0123456789"


class Bucket:
    """A bucket that tests may write to; `files` reads it as the platform does."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="k",
            aws_secret_access_key="s",
        )
        self._client.create_bucket(Bucket="flatfiles")
        self.files = FlatFiles(endpoint, "flatfiles", "key", SECRET)

    def put(self, key: str, body: bytes) -> None:
        """Write an object, or replace it."""
        self._client.put_object(Bucket="flatfiles", Key=key, Body=body)

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._client.delete_object(Bucket="flatfiles", Key=key)

    def put_bars(self, session: dt.date, bars: pl.DataFrame) -> None:
        """Write a session's file: `ticker` and the values of `bars`, in the vendor's order of columns."""
        self.put(key_of(session), flat_file(session, bars))


@contextmanager
def s3_on_loopback() -> Iterator[str]:
    """Address of a real S3 API on a free port; nothing is left of it for the next one."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        httpx.post(f"http://{host}:{port}/moto-api/reset")  # moto keeps its buckets per process
        server.stop()


@contextmanager
def bucket_on_loopback() -> Iterator[Bucket]:
    """A bucket of one's own, empty."""
    with s3_on_loopback() as endpoint:
        yield Bucket(endpoint)


def flat_file(session: dt.date, bars: pl.DataFrame) -> bytes:
    """`bars` (`ticker`, `open`, `high`, `low`, `close`, `volume`, `transactions`) as the vendor writes them."""
    midnight = dt.datetime.combine(session, dt.time(), NEW_YORK).timestamp()
    columns = ["ticker", "volume", "open", "close", "high", "low", "window_start", "transactions"]
    rows = bars.with_columns(window_start=pl.lit(round(midnight) * 10**9)).select(columns)
    return gzip.compress(rows.write_csv(quote_style="never").encode())


def universe(symbols: Mapping[str, object] | list[str]) -> pl.DataFrame:
    """`symbol` and `id` of these tickers, as the platform gives ids."""
    return pl.DataFrame(
        {"symbol": list(symbols), "id": [str(uuid.uuid5(TICKER_NAMESPACE, symbol)) for symbol in symbols]}
    )
