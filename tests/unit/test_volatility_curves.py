"""Promise: the curves that people look at are the points that the stored volatilities were read off.

Oracle: the interpolation of the definitions, written down here a second time in plain Python.
"""

import json
import math

import polars as pl
import pytest

from kapman_metrics.chain import read_snapshot
from kapman_metrics.volatility import VolatilitySettings, volatility_metrics_of
from kapman_metrics.volatility.curves import SMILE, TERM_STRUCTURE, smile, term_structure
from tests.unit.test_volatility_metrics import CLOSE, HISTORY, SESSION, contract, frame

SETTINGS = VolatilitySettings()
DAYS = (0, 7, 21, 45, 80, 120)


def snapshot_of(rows, spot=101.0):
    underlyings = pl.DataFrame(
        {"ticker_id": ["a", "b"], "symbol": ["A", "B"], "spot": [spot, None], "spot_source": ["ohlcv", None]},
        schema_overrides={"spot": pl.Float64},
    )
    return read_snapshot(frame(rows), underlyings, snapshot_time=CLOSE, session=SESSION, carry=SETTINGS)


def chain():
    return [
        contract(
            strike,
            kind,
            days,
            iv=0.2 + 0.001 * days + 0.0005 * (strike - 100) ** 2 + (0.01 if kind == "P" else 0),
        )
        for days in DAYS
        for strike in (90, 95, 100, 105, 110)
        for kind in "CP"
    ]


@pytest.mark.parametrize("term", [30, 90])
def test_stored_volatilities_lie_on_the_term_structure(term: int) -> None:
    """Linear in total variance between the expiries around; the session's own expiry has no point."""
    snapshot = snapshot_of(chain())
    curve = term_structure(snapshot, SETTINGS.max_strike_distance)
    assert curve.schema == TERM_STRUCTURE
    assert curve["days"].to_list() == list(DAYS[1:])
    points = dict(curve.select("days", "atm_iv").iter_rows())
    before, after = max(d for d in points if d <= term), min(d for d in points if d >= term)
    variances = points[before] ** 2 * before, points[after] ** 2 * after
    share = (term - before) / (after - before)
    stored = volatility_metrics_of(
        snapshot, pl.DataFrame(schema=HISTORY), settings=SETTINGS, model_version="test"
    )
    document = json.loads(stored["volatility_metrics_json"][0])
    by_hand = math.sqrt((variances[0] + (variances[1] - variances[0]) * share) / term)
    assert document[f"atm_iv_{term}d"] == pytest.approx(by_hand, rel=1e-11)


def test_a_smile_is_the_contracts_that_have_a_volatility() -> None:
    """In key order; without IV, or a day to live, a contract is left out; deltas have their side's sign."""
    rows = [*chain(), contract(100, "C", 200, iv=None)]
    curve = smile(snapshot_of(rows))
    assert curve.schema == SMILE
    expected = [row for row in chain() if row["expiration_date"] > SESSION]
    assert curve.height == len(expected)
    assert curve["implied_volatility"].to_list() == [row["implied_volatility"] for row in expected]
    assert ((curve["delta"] > 0) == (curve["option_type"] == "C")).all()


def test_without_a_spot_there_is_a_smile_and_no_term_structure() -> None:
    """Nothing is at the money of an unknown price; the contracts' volatilities are known all the same."""
    snapshot = snapshot_of(chain(), spot=None)
    assert term_structure(snapshot, SETTINGS.max_strike_distance).is_empty()
    assert smile(snapshot)["delta"].null_count() == len(smile(snapshot)) > 0
