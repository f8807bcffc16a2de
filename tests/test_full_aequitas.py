"""Group measures beside Aequitas, in an environment of its own."""

import sys
from pathlib import Path

import pytest

ORACLES = Path(__file__).resolve().parent / "oracles"
sys.path.insert(0, str(ORACLES))
from aequitas_oracle import COMPAS, TOLERANCE, differences  # noqa: E402

pytestmark = pytest.mark.full
PYTHON = ORACLES.parents[1] / ".venv-aequitas" / "bin" / "python"


@pytest.mark.skipif(not COMPAS.exists(), reason="COMPAS two-year scores are not in ../shared/data")
def test_every_group_measure_is_that_of_aequitas():
    if not PYTHON.exists():
        pytest.fail("Aequitas is not installed: make setup-full")
    compared = differences(COMPAS, PYTHON)
    assert compared.height == 88
    assert compared["gap"].null_count() == 0
    assert compared["gap"].max() <= TOLERANCE
