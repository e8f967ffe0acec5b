"""The promise: docs/reliability.md lists exactly the faults that are tested, with what really happens."""

import re

from tests.conftest import PROJECT
from tests.faults.matrix import MATRIX

PAGE = (PROJECT / "docs" / "reliability.md").read_text()


def test_the_page_is_the_matrix() -> None:
    """The same cases in the same order under the file that tests them, with the same step and outcome."""
    documented: dict[str, list[tuple[str, str, str]]] = {}
    for section in PAGE.split("\n### ")[1:]:
        tested_in = re.search(r"`tests/faults/(\w+\.py)`", section)
        assert tested_in, section[:60]
        rows = re.findall(r"^\| `([^`]+)` \| `(\w+)` \| ([^|]+) \| [^|]+ \| [^|]+ \|$", section, re.MULTILINE)
        documented.setdefault(tested_in[1], []).extend(rows)
    assert documented == {
        file: [(case.name, case.step, case.outcome.value) for case in cases] for file, cases in MATRIX.items()
    }


def test_every_case_has_its_test() -> None:
    """A case is a row that a test is parametrised with, or a test names it, or the moment at which its signal comes."""
    for file, cases in MATRIX.items():
        text = (PROJECT / "tests" / "faults" / file).read_text()
        missing = [case.name for case in cases if re.sub(r"^(kill -9|Ctrl-C) ", "", case.name) not in text]
        assert not missing or file == "test_vendor.py", missing
