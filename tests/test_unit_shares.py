"""How many each unit would list: none is told that is small, zero among them, or that follows from the others."""

from ethics.published_figures import is_silent
from ethics.report_tables import CountTable
from ethics.suppression_attack import attack
from serving.rehearsal import told_by_unit


def test_a_unit_that_lists_nobody_is_not_told_to():
    assert told_by_unit({"north": 0, "east": 60}, 5) == {"north": None, "east": None}
    assert told_by_unit({"north": 25, "east": 35}, 5) == {"north": 25, "east": 35}


def test_what_is_told_of_units_stands_up_to_the_attacker():
    for listed in ((0, 40, 3, 30), (1, 1, 58), (0, 0, 60), (4, 9, 20, 27), (7, 53)):
        units = tuple("abcd"[: len(listed)])
        told = told_by_unit(dict(zip(units, listed, strict=True)), 5)
        withheld = frozenset(("listed", unit) for unit in units if told[unit] is None)
        table = CountTable("units", "unit", units, {"listed": listed}, shown=("listed",)).hiding(withheld)
        assert is_silent(table) or attack([table], 5) == []
        assert all(n is None or n >= 5 for n in told.values())
