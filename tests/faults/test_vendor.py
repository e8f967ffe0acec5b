"""The promise: whatever the vendor serves, sessions are published whole or not at all, rows that are none
are counted, and when the vendor is well again the next run ends where an undisturbed one ends."""

import dagster as dg
import pytest

from kapman_simulator.faults import FAULTS
from tests.faults.conftest import Hashes, Scene, error_of, hashes, materialize, withdraw
from tests.faults.matrix import FILES, NOT_READ, VENDOR, Case, Outcome
from tests.integration.conftest import Platform


def reasons(platform: Platform, asset: str) -> dict[str, int]:
    """Rows that were read and not written, by reason, over all partitions of an asset."""
    with platform.connect() as connection:
        rows = connection.execute(
            """
            SELECT reason, sum(n)::int FROM (
                SELECT key AS reason, value::int AS n
                FROM kapman_meta.load_manifest m, jsonb_each_text(m.rows_ignored) WHERE m.asset = %(asset)s
                UNION ALL
                SELECT split_part(reason, ':', 1), 1 FROM kapman_meta.quarantine WHERE asset = %(asset)s
            ) r GROUP BY reason
            """,
            {"asset": asset},
        ).fetchall()
    return dict(rows)


def evidence(result: dg.ExecuteInProcessResult) -> str:
    """Names and examples of the checks that didn't pass."""
    return "\n".join(
        f"{check.check_name}: {getattr(check.metadata.get('examples'), 'value', '')}"
        for check in result.get_asset_check_evaluations()
        if not check.passed
    )


@pytest.mark.parametrize("case", VENDOR, ids=lambda case: case.name)
def test_a_vendor_that_goes_wrong(scene: Scene, impatient: None, case: Case) -> None:
    """Loaded from nothing with the fault, then without it."""
    before = reasons(scene.platform, case.step)
    scene.vendor.set_faults([case.name])
    if case in FILES and case.outcome is Outcome.FAILS:
        a_good_session_is_not_replaced(scene, case)
    if case.step != "tickers":  # which the other tables refer to
        withdraw(scene.platform, case.step)
    empty = hashes(scene.platform)

    result = materialize(scene.platform, case.step)
    scene.assert_whole()
    EXPECT[case.outcome](scene, case, result, empty, before)

    scene.vendor.set_faults([])
    if case.repave:
        assert scene.repave().success
    elif case.outcome is not Outcome.HEALS:
        assert materialize(scene.platform, case.step, refetch=case.refetch).success
    scene.assert_undisturbed()
    assert reasons(scene.platform, case.step) == before


def a_good_session_is_not_replaced(scene: Scene, case: Case) -> None:
    """The damaged file comes as a new version of a session that is published: that stays as it is."""
    result = materialize(scene.platform, case.step)
    assert_failed(result, case)
    scene.assert_undisturbed()


def assert_failed(result: dg.ExecuteInProcessResult, case: Case) -> None:
    """A sentence of ours that names what it should, and no record of a materialization."""
    assert not result.success
    sentence = error_of(result, case.step)
    # Dagster shows the text of a Failure without a trace: it is the platform's sentence, not a library's.
    assert sentence.startswith(("kapman_resources.", "dagster._core.definitions.events.Failure")), sentence
    for named in case.says:
        assert named in sentence
    assert not result.get_asset_materialization_events()


def fails(
    scene: Scene, case: Case, result: dg.ExecuteInProcessResult, empty: Hashes, _: dict[str, int]
) -> None:
    assert_failed(result, case)
    assert hashes(scene.platform) == empty


def heals(scene: Scene, _: Case, result: dg.ExecuteInProcessResult, __: Hashes, ___: dict[str, int]) -> None:
    assert result.success
    assert hashes(scene.platform) == scene.undisturbed


def counts(
    scene: Scene, case: Case, result: dg.ExecuteInProcessResult, _: Hashes, before: dict[str, int]
) -> None:
    assert result.success
    found = reasons(scene.platform, case.step)
    more = {reason: n - before.get(reason, 0) for reason, n in found.items() if n != before.get(reason, 0)}
    assert {r: n for r, n in more.items() if r != "test symbol"} == case.counts


def names(
    scene: Scene, case: Case, result: dg.ExecuteInProcessResult, empty: Hashes, _: dict[str, int]
) -> None:
    assert result.success
    assert hashes(scene.platform) not in (empty, scene.undisturbed)
    for named in case.says:
        assert named in evidence(result)


def takes(scene: Scene, case: Case, result: dg.ExecuteInProcessResult, _: Hashes, __: dict[str, int]) -> None:
    assert result.success
    assert hashes(scene.platform) != scene.undisturbed
    for named in case.says:
        assert named in evidence(result)


EXPECT = {
    Outcome.FAILS: fails,
    Outcome.HEALS: heals,
    Outcome.COUNTED: counts,
    Outcome.NAMED: names,
    Outcome.TAKEN: takes,
}


def test_every_fault_of_the_simulator_is_in_the_matrix() -> None:
    """A fault that somebody adds to the simulator wants a row here."""
    assert {case.name.partition("=")[0] for case in VENDOR} | NOT_READ == set(FAULTS)
