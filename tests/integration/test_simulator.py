"""The promise: the vendor on loopback behaves like the vendor, for the clients that people use, and goes wrong on demand.

Everything here goes over HTTP to a real child process: obstore and boto3 for the bucket, httpx for the API.
"""

import csv
import gzip
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import httpx
import msgspec
import obstore
import pytest
from obstore.exceptions import AlreadyExistsError, NotModifiedError, PermissionDeniedError, PreconditionError
from obstore.store import S3Store

from kapman_simulator import MarketOptions, Simulator
from kapman_simulator.faults import FAULTS
from kapman_simulator.objects import key_of
from tests.conftest import dataset

TODAY = date(2026, 11, 20)
NEWEST = key_of(TODAY)
OPTIONS = MarketOptions(symbols=60, sessions=12, underlyings=3, contracts=600, today=TODAY)

TINY = MarketOptions(symbols=60, sessions=3, underlyings=1, contracts=60, today=TODAY)


@pytest.fixture(scope="module")
def shared() -> Iterator[Simulator]:
    with Simulator(OPTIONS) as vendor:
        yield vendor


@pytest.fixture
def vendor(shared: Simulator) -> Iterator[Simulator]:
    """A vendor in good health before and after every test."""
    yield shared
    shared.set_faults([])


def store(vendor: Simulator, bucket: str = "flatfiles", **changes: Any) -> S3Store:
    environment = vendor.environment
    settings: dict[str, Any] = {
        "endpoint": environment["KAPMAN_S3_ENDPOINT"],
        "access_key_id": environment["KAPMAN_S3_ACCESS_KEY_ID"],
        "secret_access_key": environment["KAPMAN_S3_SECRET_ACCESS_KEY"],
        "region": "us-east-1",
        "client_options": {"allow_http": True, "timeout": "2s"},
        "retry_config": {"max_retries": 0},
    }
    return S3Store(bucket, **{**settings, **changes})


def keys(vendor: Simulator) -> list[str]:
    return sorted(entry["path"] for chunk in obstore.list(store(vendor)) for entry in chunk)


def read(vendor: Simulator, key: str = NEWEST) -> bytes:
    return bytes(obstore.get(store(vendor), key).bytes())


def rows(vendor: Simulator) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(gzip.decompress(read(vendor)).decode("latin-1"))))


CLIENT = httpx.Client(timeout=2)


def get(vendor: Simulator, url: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {vendor.environment['MASSIVE_API_KEY']}"}
    address = url if url.startswith("http") else vendor.environment["KAPMAN_API_URL"] + url
    return CLIENT.get(address, headers=headers)


def pages(vendor: Simulator, url: str) -> list[dict[str, Any]]:
    """Every page, as a strict reader gets them."""
    found, seen = [], set()
    while url:
        assert url not in seen, "next_url loops"
        seen.add(url)
        answer = get(vendor, url)
        assert answer.status_code == 200
        found.append(answer.json())
        url = found[-1].get("next_url", "")
    return found


def chain(vendor: Simulator, underlying: str = "AAPL") -> list[dict[str, Any]]:
    return [
        row
        for page in pages(vendor, f"/v3/snapshot/options/{underlying}?limit=250")
        for row in page["results"]
    ]


def reference(vendor: Simulator) -> list[dict[str, Any]]:
    found = pages(vendor, "/v3/reference/tickers?market=stocks&active=true&limit=1000")
    return [row for page in found for row in page["results"]]


# The command


def test_the_command_says_where_it_is_and_ends_when_told(tmp_path: Path) -> None:
    env_file = tmp_path / "vendor.env"
    env_file.write_text("export KAPMAN_API_URL=http://stale\n")
    arguments = [
        "--symbols",
        "60",
        "--sessions",
        "5",
        "--underlyings",
        "2",
        "--contracts",
        "60",
        "--today",
        "2026-11-22",
    ]
    command = [sys.executable, "-m", "kapman_cli.main", "simulator", *arguments, "--env-file", str(env_file)]
    for number in (signal.SIGTERM, signal.SIGINT):
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        lines = [child.stdout.readline().strip() for _ in range(9)]
        settings = dict(line.split("=", 1) for line in lines)
        assert settings["KAPMAN_AS_OF"] == "2026-11-20"
        assert settings["KAPMAN_S3_BUCKET"] == "flatfiles"
        assert settings["KAPMAN_RATE_LIMIT"] == "0"
        assert "2026-11-22 is not a trading session" in child.stdout.readline()
        assert "Serving" in child.stdout.readline()
        sourced = subprocess.run(
            ["sh", "-c", f". {env_file} && env"], capture_output=True, text=True, check=True, env={}
        ).stdout.splitlines()
        assert set(lines) <= set(sourced)
        answer = httpx.get(
            settings["KAPMAN_API_URL"] + "/v3/snapshot/options/AAPL",
            headers={"Authorization": f"Bearer {settings['MASSIVE_API_KEY']}"},
        )
        assert answer.json()["count"] == 10
        began = time.monotonic()
        child.send_signal(number)
        assert child.wait(timeout=10) == 0
        assert time.monotonic() - began < 5
        assert not env_file.exists()


def test_the_command_refuses_what_it_cannot_serve(vendor: Simulator, tmp_path: Path) -> None:
    port = vendor.environment["KAPMAN_S3_ENDPOINT"].rpartition(":")[2]
    for arguments, sentence in (
        (["--fault", "nonsense"], "no fault 'nonsense'"),
        (["--s3-port", port], f"port {port}"),
        (["--dataset", str(tmp_path)], "A dataset is a folder with"),
    ):
        command = [sys.executable, "-m", "kapman_cli.main", "simulator", *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert ended.returncode != 0
        assert sentence in ended.stderr
        assert "Traceback" not in ended.stderr


def test_the_child_ends_with_its_parent() -> None:
    program = (
        "import os\nfrom kapman_simulator import MarketOptions, Simulator\n"
        "if __name__ == '__main__':\n"
        "    vendor = Simulator(MarketOptions(symbols=60, sessions=3, underlyings=1, contracts=60))\n"
        "    vendor.start()\n    print(vendor.environment['KAPMAN_API_URL'], flush=True)\n    os._exit(0)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            httpx.get(ended.stdout.strip())
        except httpx.ConnectError:
            return
    pytest.fail("the simulator outlived its parent")


# The bucket


def test_the_bucket_is_s3_for_both_clients(vendor: Simulator) -> None:
    assert len(keys(vendor)) == 12
    assert keys(vendor)[-1] == NEWEST
    after = [e["path"] for c in obstore.list(store(vendor), offset=keys(vendor)[-3]) for e in c]
    assert after == keys(vendor)[-2:]
    head = obstore.head(store(vendor), NEWEST)
    body = read(vendor)
    assert head["size"] == len(body)
    assert bytes(obstore.get_range(store(vendor), NEWEST, start=10, length=20)) == body[10:30]
    assert bytes(obstore.get(store(vendor), NEWEST, options={"if_match": head["e_tag"]}).bytes()) == body
    with pytest.raises(PreconditionError):
        obstore.get(store(vendor), NEWEST, options={"if_match": '"other"'})
    with pytest.raises(NotModifiedError):
        obstore.get(store(vendor), NEWEST, options={"if_none_match": head["e_tag"]})
    with pytest.raises(FileNotFoundError):
        obstore.get(store(vendor), "us_stocks_sip/day_aggs_v1/1999/01/1999-01-04.csv.gz")

    environment = vendor.environment
    client = boto3.client(
        "s3",
        endpoint_url=environment["KAPMAN_S3_ENDPOINT"],
        aws_access_key_id=environment["KAPMAN_S3_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["KAPMAN_S3_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )
    listing = client.get_paginator("list_objects_v2").paginate(
        Bucket="flatfiles", Prefix="us_stocks_sip/", PaginationConfig={"PageSize": 5}
    )
    assert [entry["Key"] for page in listing for entry in page["Contents"]] == keys(vendor)
    assert client.get_object(Bucket="flatfiles", Key=NEWEST)["Body"].read() == body
    assert client.head_object(Bucket="flatfiles", Key=NEWEST)["ETag"] == head["e_tag"]


def test_the_vault_can_be_written(vendor: Simulator) -> None:
    vault = store(vendor, "kapman-vault")
    name = "options/2026-11-20/BRK.B ü+1.zst"
    obstore.put(vault, name, b"page", mode="create")
    with pytest.raises(AlreadyExistsError):
        obstore.put(vault, name, b"other", mode="create")
    assert bytes(obstore.get(vault, name).bytes()) == b"page"
    obstore.put(vault, "large", b"x" * 12_000_000)  # several parts
    assert obstore.head(vault, "large")["size"] == 12_000_000
    obstore.delete(vault, [name, "large"])
    assert [entry for chunk in obstore.list(vault) for entry in chunk] == []


def test_only_the_right_key_pair_opens_the_bucket(vendor: Simulator) -> None:
    for wrong in ({"secret_access_key": "wrong"}, {"access_key_id": "wrong"}, {"skip_signature": True}):
        with pytest.raises(PermissionDeniedError):
            obstore.get(store(vendor, **wrong), NEWEST)
    client = boto3.client(
        "s3",
        endpoint_url=vendor.environment["KAPMAN_S3_ENDPOINT"],
        aws_access_key_id=vendor.environment["KAPMAN_S3_ACCESS_KEY_ID"],
        aws_secret_access_key="wrong",
        region_name="us-east-1",
    )
    with pytest.raises(botocore.exceptions.ClientError, match="SignatureDoesNotMatch"):
        client.list_objects_v2(Bucket="flatfiles")


def test_thirty_two_readers_at_once(vendor: Simulator) -> None:
    bucket = store(vendor)
    expected = {key: read(vendor, key) for key in keys(vendor)}
    with ThreadPoolExecutor(32) as pool:
        found = pool.map(lambda key: (key, bytes(obstore.get(bucket, key).bytes())), [*expected] * 10)
    assert all(body == expected[key] for key, body in found)


# The API


def test_pages_lead_to_every_contract_once(vendor: Simulator) -> None:
    found = pages(vendor, "/v3/snapshot/options/AAPL?limit=250")
    assert [page["count"] for page in found] == [250, 250, 104]
    assert all(page["count"] == len(page["results"]) and page["status"] == "OK" for page in found)
    tickers = [row["details"]["ticker"] for page in found for row in page["results"]]
    assert tickers == sorted(set(tickers))
    base = vendor.environment["KAPMAN_API_URL"]
    for page in found[:-1]:
        assert page["next_url"].startswith(f"{base}/v3/snapshot/options/AAPL?cursor=")
        assert vendor.environment["MASSIVE_API_KEY"] not in page["next_url"]
    small = pages(vendor, "/v3/snapshot/options/AAPL?limit=100")
    assert [row["details"]["ticker"] for page in small for row in page["results"]] == tickers


def test_the_vendors_manners(vendor: Simulator) -> None:
    assert get(vendor, "/v3/snapshot/options/AAPL").json()["count"] == 10
    assert get(vendor, "/v3/snapshot/options/AAPL?limit=251").status_code == 400
    assert get(vendor, "/v3/reference/tickers?limit=1001").status_code == 400
    assert get(vendor, "/v3/reference/tickers?cursor=nonsense").status_code == 400
    assert get(vendor, "/v3/nothing").status_code == 404
    for unknown in ("NOSUCH", "I%3ASPX"):
        answer = get(vendor, f"/v3/snapshot/options/{unknown}?limit=250").json()
        assert (answer["status"], answer["results"], answer["count"]) == ("OK", [], 0)
    # There is no date parameter: it is ignored, without an error.
    today = get(vendor, "/v3/snapshot/options/AAPL?limit=250").json()["results"]
    assert (
        get(vendor, "/v3/snapshot/options/AAPL?limit=250&as_of=2020-01-02&date=2020-01-02").json()["results"]
        == today
    )
    url = vendor.environment["KAPMAN_API_URL"] + "/v3/reference/tickers"
    key = vendor.environment["MASSIVE_API_KEY"]
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, params={"apiKey": key}).status_code == 401
    assert httpx.get(url, headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_reference_is_paged_and_filtered(vendor: Simulator) -> None:
    symbols = [row["ticker"] for row in reference(vendor)]
    assert symbols == sorted(set(symbols))
    assert {"TPC", "TpC", "BRK.B"} <= set(symbols)
    small = pages(vendor, "/v3/reference/tickers?market=stocks&active=true&limit=7")
    assert [row["ticker"] for page in small for row in page["results"]] == symbols
    assert [row["ticker"] for row in get(vendor, "/v3/reference/tickers?ticker=TpC").json()["results"]] == [
        "TpC"
    ]
    assert get(vendor, "/v3/reference/tickers?market=crypto").json()["count"] == 0


def test_splits_explain_the_jumps(vendor: Simulator) -> None:
    found = pages(vendor, "/stocks/v1/splits?limit=5000")[0]["results"]
    netflix = next(row for row in found if row["ticker"] == "NFLX")
    assert (netflix["execution_date"], netflix["split_from"], netflix["split_to"]) == ("2025-11-17", 1, 10)
    assert netflix["historical_adjustment_factor"] == 0.1
    assert get(vendor, "/stocks/v1/splits?ticker=AAPL").json()["count"] == 0
    assert get(vendor, "/stocks/v1/splits?execution_date.gte=2025-11-17&ticker=NFLX").json()["results"] == [
        netflix
    ]
    vendor.set_faults(["duplicate_splits"])
    assert get(vendor, "/stocks/v1/splits?ticker=NFLX").json()["count"] == 2
    vendor.set_faults(["float_split_ratio"])
    assert '"split_to":1e+06' in get(vendor, "/stocks/v1/splits?ticker=NFLX").text


# Faults


def test_every_fault_can_be_asked_for_and_taken_back(vendor: Simulator) -> None:
    healthy = (keys(vendor), [read(vendor, key) for key in keys(vendor)], chain(vendor), reference(vendor))
    for name in FAULTS:
        vendor.set_faults([name])
    vendor.set_faults([])
    assert (
        keys(vendor),
        [read(vendor, key) for key in keys(vendor)],
        chain(vendor),
        reference(vendor),
    ) == healthy
    for fault, sentence in (
        ("nonsense", "no fault 'nonsense'"),
        ("truncated_gzip=1999-01-04", "There is no file of 1999-01-04"),
        ("truncated_gzip=yesterday", "the value must be a session's date"),
        ("missing_greeks=ZZZZ", "There is no chain of ZZZZ"),
        ("s3_500=often", "the value must be how many times"),
    ):
        with pytest.raises(RuntimeError, match=sentence), Simulator(TINY, faults=[fault]):
            pass


def changed(vendor: Simulator, fault: str) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The rows that the fault took from the newest file, and those that it put there."""
    before = rows(vendor)
    vendor.set_faults([fault])
    after = rows(vendor)
    return [row for row in before if row not in after], [row for row in after if row not in before]


@pytest.mark.parametrize(
    ("fault", "column", "wrong"),
    [
        ("nan_price", "close", lambda value: value == "NaN"),
        ("blank_price", "close", lambda value: value == ""),
        ("text_price", "open", lambda value: value == "halted"),
        ("negative_price", "low", lambda value: float(value) < 0),
        ("zero_price", "high", lambda value: float(value) == 0),
        ("high_below_low", "high", lambda value: value == "1.01"),
        ("absurd_volume", "volume", lambda value: float(value) == 1e30),
        ("negative_volume", "volume", lambda value: float(value) < 0),
        ("wrong_case_symbols", "ticker", str.islower),
    ],
)
def test_faults_in_three_rows(vendor: Simulator, fault: str, column: str, wrong: Any) -> None:
    taken, put = changed(vendor, fault)
    assert len(taken) == len(put) == 3
    assert all(wrong(row[column]) for row in put)
    assert {row["ticker"] for row in taken} == {"AAPL", "MSFT", "NVDA"}


def test_faults_in_a_whole_file(vendor: Simulator) -> None:
    healthy = rows(vendor)
    count = len(healthy)
    earlier = "2026-11-18"
    for fault, symptom in {
        "missing_file": lambda: NEWEST not in keys(vendor),
        f"missing_file={earlier}": lambda: key_of(date(2026, 11, 18)) not in keys(vendor),
        "zero_byte_file": lambda: read(vendor) == b"",
        "header_only_file": lambda: rows(vendor) == [],
        "not_gzip": lambda: read(vendor).startswith(b"ticker,"),
        "half_written_row": lambda: rows(vendor)[:-1] == healthy[:-1] and rows(vendor)[-1] != healthy[-1],
        "wrong_date_file": lambda: {row["window_start"] for row in rows(vendor)} == {"1795237200000000000"},
        "mixed_dates": lambda: len({row["window_start"] for row in rows(vendor)}) == 2,
        "duplicate_ticker_rows": lambda: len(rows(vendor)) == count + 3,
        "garbage_tickers": lambda: (
            {"'; DROP TABLE tickers; --", "NU\0L", 'QUO"TED', "COM,MA", ""}
            <= {row["ticker"] for row in rows(vendor)}
        ),
        "fractional_volume": lambda: all(row["volume"].endswith(".123456") for row in rows(vendor)),
        "reordered_columns": lambda: list(rows(vendor)[0]) == sorted(healthy[0]) and rows(vendor) == healthy,
        "missing_column": lambda: "close" not in rows(vendor)[0],
        "extra_column": lambda: next(iter(rows(vendor)[0])) == "vwap",
    }.items():
        vendor.set_faults([fault])
        assert symptom(), fault
    for broken in ("truncated_gzip", "corrupt_gzip"):
        vendor.set_faults([broken])
        with pytest.raises((EOFError, gzip.BadGzipFile)):
            gzip.decompress(read(vendor))


def test_a_republished_file_has_another_etag_and_other_rows(vendor: Simulator) -> None:
    vendor.set_faults(["republished_file"])
    before, first = obstore.head(store(vendor), NEWEST)["e_tag"], rows(vendor)
    after, second = obstore.head(store(vendor), NEWEST)["e_tag"], rows(vendor)
    assert before != after
    assert len([row for row in first if row not in second]) == 4
    assert rows(vendor) == second

    vendor.set_faults(["republished_mid_read"])
    before = obstore.head(store(vendor), NEWEST)["e_tag"]
    with pytest.raises(obstore.exceptions.BaseError):
        read(vendor)
    assert obstore.head(store(vendor), NEWEST)["e_tag"] != before


@pytest.mark.parametrize("fault", ["s3_500", "s3_slow_down", "s3_timeout", "s3_cut_body", "s3_forbidden"])
def test_faults_of_the_bucket(vendor: Simulator, fault: str) -> None:
    healthy = read(vendor)
    vendor.set_faults([fault])
    with pytest.raises(obstore.exceptions.BaseError):
        read(vendor)
    vendor.set_faults([] if fault == "s3_forbidden" else [f"{fault}"])
    if fault != "s3_forbidden":
        with pytest.raises(obstore.exceptions.BaseError):
            read(vendor)
    assert read(vendor) == healthy


def test_slow_bodies(vendor: Simulator) -> None:
    vendor.set_faults(["s3_slow=0.5 slow_body=0.5"])
    for request in (lambda: read(vendor), lambda: get(vendor, "/v3/snapshot/options/AAPL")):
        began = time.monotonic()
        request()
        assert time.monotonic() - began >= 0.4


def test_faults_of_status(vendor: Simulator) -> None:
    url = "/v3/snapshot/options/AAPL?limit=250"
    vendor.set_faults(["rate_limit=2"])
    answers = [get(vendor, url) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["retry-after"] == "1"
    vendor.set_faults(["rate_limit_without_header"])
    answers = [get(vendor, url) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [429, 429, 429, 200]
    assert "retry-after" not in answers[0].headers
    for fault, status in (("forbidden", 403), ("unauthorized", 401)):
        vendor.set_faults([fault])
        assert get(vendor, url).status_code == status
        assert get(vendor, "/v3/reference/tickers").status_code == 200
        vendor.set_faults([f"{fault}=reference"])
        assert get(vendor, url).status_code == 200
        assert get(vendor, "/v3/reference/tickers").status_code == status
    vendor.set_faults(["server_error"])
    assert [get(vendor, url).status_code for _ in range(3)] == [500, 200, 200]


def test_faults_of_pages(vendor: Simulator) -> None:
    url = "/v3/snapshot/options/AAPL?limit=250"
    for broken in ("truncated_page", "bad_json"):
        vendor.set_faults([broken])
        assert get(vendor, url).status_code == 200
        with pytest.raises(msgspec.DecodeError):
            msgspec.json.decode(get(vendor, url).content)
    for without in ("missing_results", "error_in_200"):
        vendor.set_faults([f"{without}=AAPL"])
        assert "results" not in get(vendor, url).json()
        assert "results" in get(vendor, "/v3/snapshot/options/MSFT").json()
    vendor.set_faults(["looping_next_url"])
    second = get(vendor, url).json()["next_url"]
    assert get(vendor, second).json()["next_url"] == second
    healthy = [row["details"]["ticker"] for row in chain(vendor, "MSFT")]
    vendor.set_faults(["duplicate_page=MSFT"])
    assert [row["details"]["ticker"] for row in chain(vendor, "MSFT")] == healthy + healthy[:250]
    vendor.set_faults(["cut_body"])
    with pytest.raises(httpx.RemoteProtocolError):
        get(vendor, url)
    assert get(vendor, url).status_code == 200
    vendor.set_faults(["api_timeout"])
    with pytest.raises(httpx.ReadTimeout):
        get(vendor, url)
    assert get(vendor, url).status_code == 200
    vendor.set_faults(["changing_open_interest"])
    first, second = (get(vendor, url).json()["results"][0]["open_interest"] for _ in range(2))
    assert second == first + 1


def test_faults_in_chains(vendor: Simulator) -> None:
    healthy = chain(vendor)
    count = len(healthy)
    symptoms = {
        "empty_chain": lambda found: found == [],
        "duplicate_contract": lambda found: found[count:] == healthy[:3],
        "adjusted_contract": lambda found: (
            [c["details"]["ticker"][:7] for c in found[count:]] == ["O:AAPL2"] * 10
        ),
        "stale_day_bar": lambda found: (
            max(c["day"].get("last_updated", 0) for c in found) == 1794546000000000000
        ),
        "missing_greeks": lambda found: not any(c.get("greeks") for c in found),
        "missing_iv": lambda found: not any("implied_volatility" in c for c in found),
        "no_quotes": lambda found: (
            not any("last_quote" in c or "price" in c["underlying_asset"] for c in found)
        ),
        "odd_shares_per_contract": lambda found: {c["details"]["shares_per_contract"] for c in found} == {10},
        "other_contract_type": lambda found: (
            [c["details"]["contract_type"] for c in found].count("other") == 5
        ),
        "expired_contract": lambda found: (
            [c["details"]["expiration_date"] for c in found].count("2026-11-13") == 5
        ),
        "wrong_underlying": lambda found: (
            [c["underlying_asset"]["ticker"] for c in found].count("WRONG") == 5
        ),
        "garbage_contracts": lambda found: len([c for c in found if c not in healthy]) == 8,
    }
    for fault, symptom in symptoms.items():
        vendor.set_faults([fault])
        assert symptom(chain(vendor)), fault
        vendor.set_faults([f"{fault}=NVDA"])
        assert chain(vendor) == healthy, fault


def test_faults_in_reference(vendor: Simulator) -> None:
    healthy = reference(vendor)
    by_symbol = {row["ticker"]: row for row in healthy}
    for fault, symptom in {
        "empty_reference": lambda found: found == [],
        "unlisted_symbol=MSFT": lambda found: found == [row for row in healthy if row["ticker"] != "MSFT"],
        "delisted_symbol": lambda found: found == [row for row in healthy if row["ticker"] != "AAPL"],
        "reused_symbol": lambda found: found[0]["composite_figi"] != by_symbol["AAPL"]["composite_figi"],
        "blank_reference_fields": lambda found: found[0].keys() == {"ticker", "market", "active", "type"},
        "duplicate_reference_ticker": lambda found: found == [*healthy, healthy[0]],
        "garbage_reference": lambda found: len(found) == len(healthy) + 8,
    }.items():
        vendor.set_faults([fault])
        assert symptom(reference(vendor)), fault


# Datasets


def test_a_folder_is_served_byte_for_byte(tmp_path: Path) -> None:
    days = {day: os.urandom(50) for day in ("2026-07-09", "2026-07-10", "2026-07-13")}
    for day, body in days.items():
        file = tmp_path / "flatfiles" / key_of(date.fromisoformat(day))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
    contracts = [{"details": {"ticker": f"O:SPX{number}"}, "odd": 0.1} for number in range(3)]
    options = tmp_path / "options" / "2026-07-10"
    options.mkdir(parents=True)
    page = (
        msgspec.json.encode({"results": contracts[:2]})
        + b"\n"
        + msgspec.json.encode({"results": contracts[2:]})
    )
    (options / "I:SPX.pages.jsonl.gz").write_bytes(gzip.compress(page))
    with Simulator(dataset=tmp_path) as vendor:
        assert vendor.environment["KAPMAN_AS_OF"] == "2026-07-10"
        assert [read(vendor, key) for key in keys(vendor)] == [days["2026-07-09"], days["2026-07-10"]]
        assert chain(vendor, "I%3ASPX") == contracts
        assert reference(vendor) == []
    with Simulator(MarketOptions(today=date(2026, 7, 13)), dataset=tmp_path) as vendor:
        assert len(keys(vendor)) == 3
        assert chain(vendor, "I%3ASPX") == []


def test_real_data_is_served() -> None:
    folder = dataset("market_2026")
    with Simulator(dataset=folder) as vendor:
        assert vendor.environment["KAPMAN_AS_OF"] == "2026-08-21"
        assert len(keys(vendor)) == 520
        key = key_of(date(2026, 8, 21))
        assert read(vendor, key) == (folder / "flatfiles" / key).read_bytes()
        assert len(reference(vendor)) == 12064
        assert len(chain(vendor, "TSLA")) == 4033
