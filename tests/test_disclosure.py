"""Disclosure control against its attacker: planted small groups, all tables at once, and suppression that is broken."""

from dataclasses import replace
from time import process_time

import numpy as np
import pytest
from ethics_cases import NOW, PASSING, POLICY, fair_table, people

from ethics import judge, measure
from ethics.check_register import Context
from ethics.checks import BUILT
from ethics.disclosure import MOST_GROUPS, silenced, suppress
from ethics.public_tables import REACHED, published_tables
from ethics.published_figures import counts_of, figures_of, is_silent, is_total
from ethics.report_figures import Figures
from ethics.report_tables import CountTable
from ethics.suppression_attack import attack
from ethics.withheld_numbers import WITHHELD, without_withheld

RATES = {
    "recall@k_audit": ("found_k_audit", "need"),
    "recall_ratio@k_audit": ("found_k_audit", "need"),
    "missed_residents@k_audit": ("found_k_audit", "need"),
    "false_omission_rate@k_audit": ("missed_k_audit", "below_k_audit"),
    "recall@k": ("found_k", "need"),
    "precision@k": ("found_k", "selected_k"),
}
SHOWN = ("n", "need", "selected_k_audit", "selected_k")
SUMS = (("n", ("selected_k_audit", "below_k_audit")), ("need", ("found_k_audit", "missed_k_audit")))


def city(seed, sizes, n, *, pairs=(), k=60, even=0.6):
    """Tables of an invented city: attributes with groups of very unequal sizes, a ranking, a need, two cuts."""
    rng = np.random.default_rng(seed)
    risk = rng.gamma(1, 1, n)
    need = rng.random(n) < np.minimum(risk * 0.08, 0.9)
    rank = np.argsort(np.argsort(-risk))
    above, above_k = rank < int(n * 0.13), rank < k
    member = {f"a{i}": rng.choice(size, n, p=rng.dirichlet(np.full(size, even))) for i, size in enumerate(sizes)}

    def table(*names):
        of = np.stack([member[name] for name in names], axis=1)
        kinds, at = np.unique(of, axis=0, return_inverse=True)

        def count(mask):
            return tuple(int(x) for x in np.bincount(at, weights=mask, minlength=len(kinds)))

        counts = {
            "n": count(np.ones(n)),
            "need": count(need),
            "selected_k_audit": count(above),
            "below_k_audit": count(~above),
            "found_k_audit": count(need & above),
            "missed_k_audit": count(need & ~above),
            "selected_k": count(above_k),
            "found_k": count(need & above_k),
        }
        return CountTable(
            "groups",
            " × ".join(names),
            tuple(" × ".join(f"g{part}" for part in kind) for kind in kinds),
            counts,
            totals={name: sum(values) for name, values in counts.items()},
            shown=SHOWN,
            sums=SUMS,
            rates=RATES,
            tested=tuple(count >= 30 for count in counts["need"]),
        )

    return [*(table(name) for name in member), *(table(f"a{i}", f"a{j}") for i, j in pairs)]


def only_small(tables, least):
    """The plain rule: small counts, and rates that rest on one; nothing else."""
    out = []
    for table in tables:
        cells = {
            (name, group)
            for place, group in enumerate(table.groups)
            for name, columns in [*((name, (name,)) for name in table.shown), *table.rates.items()]
            if any(table.counts[column][place] < least for column in columns)
        }
        out.append(table.hiding(frozenset(cells)))
    return out


def simple(*counts, least=5, **changes):
    table = CountTable(
        "groups", "g", tuple("abcdefgh"[: len(counts)]), {"n": counts}, totals={"n": sum(counts)}, shown=("n",)
    )
    return replace(table, **changes)


# The attacker


def test_the_attacker_subtracts():
    table = simple(3, 40, 900).hiding(frozenset({("n", "a")}))
    assert [(one.group, one.low, one.high) for one in attack([table], 5)] == [("a", 3, 3)]


def test_the_attacker_bounds_two_small_ones_together():
    table = simple(1, 1, 900).hiding(frozenset({("n", "a"), ("n", "b")}))
    assert [(one.group, one.low, one.high) for one in attack([table], 5)] == [("a", 0, 2), ("b", 0, 2)]


def test_a_small_count_in_plain_sight_is_recovered():
    assert [one.group for one in attack([simple(3, 40, 900)], 5)] == ["a"]
    assert [one.group for one in attack([simple(0, 40, 900)], 5)] == ["a"]  # zero tells of everybody in the group


def test_the_attacker_solves_two_tables_that_share_their_total():
    # Either table alone leaves 3 + 20 open; the other tells everyone's total.
    one = replace(simple(3, 20, 900), totals={}).hiding(frozenset({("n", "a"), ("n", "b")}))
    other = replace(simple(500, 423), attribute="h", groups=("x", "y"), totals={})
    assert attack([one], 5) == []
    assert attack([one, other], 5) == []
    told = one.hiding(frozenset()).hidden - {("n", "b")}
    assert [found.low for found in attack([replace(one, hidden=told), other], 5)] == [3]


def test_a_rate_gives_numerator_and_denominator_away():
    counts = {"need": (12, 40, 900), "found": (2, 15, 400), "missed": (10, 25, 500)}
    table = CountTable(
        "groups",
        "g",
        ("a", "b", "c"),
        counts,
        totals={name: sum(values) for name, values in counts.items()},
        shown=("need",),
        sums=(("need", ("found", "missed")),),
        rates={"recall@k": ("found", "need")},
    )
    hidden = table.hiding(frozenset({("recall@k", "a")}))
    assert {(one.group, one.column, one.low) for one in attack([hidden], 5)} == {("a", "found", 2)}
    safe = suppress([table], least=5)
    assert attack(safe, 5) == []
    assert safe[0].is_hidden("recall@k", "a")


def test_margins_of_a_crossing_are_attacked_by_the_program_and_not_by_single_sums():
    # Fischetti and Salazar's point: every row and column hides two cells, and still one cell is fixed by all of them.
    names = [f"{a} × {b}" for a in "abc" for b in "xyz"]
    people = (2, 30, 40, 25, 4, 60, 70, 80, 90)
    crossing = CountTable("groups", "p × q", tuple(names), {"n": people}, totals={}, shown=("n",))
    rows = CountTable("groups", "p", tuple("abc"), {"n": (72, 89, 240)}, totals={"n": 401}, shown=("n",))
    columns = CountTable("groups", "q", tuple("xyz"), {"n": (97, 114, 190)}, totals={"n": 401}, shown=("n",))
    hidden = crossing.hiding(frozenset(("n", name) for name in ("a × x", "b × y")))
    assert {one.group for one in attack([hidden, rows, columns], 5)} == {"a × x", "b × y"}
    safe = suppress([crossing, rows, columns], least=5)
    assert attack(safe, 5) == []
    assert safe[1].hidden == safe[2].hidden == frozenset()  # a crossing costs no attribute anything


def test_bounds_are_those_of_an_exhaustive_search():
    rng = np.random.default_rng(3)
    for _ in range(30):
        people = rng.integers(0, 9, (2, 3))
        hide = rng.random((2, 3)) < 0.7
        names = [f"{a} × {b}" for a in "ab" for b in "xyz"]
        crossing = CountTable("groups", "p × q", tuple(names), {"n": tuple(map(int, people.ravel()))}, {}, ("n",))
        crossing = crossing.hiding(
            frozenset(("n", name) for name, hidden in zip(names, hide.ravel(), strict=True) if hidden)
        )
        rows = CountTable("groups", "p", tuple("ab"), {"n": tuple(map(int, people.sum(axis=1)))}, {}, ("n",))
        columns = CountTable("groups", "q", tuple("xyz"), {"n": tuple(map(int, people.sum(axis=0)))}, {}, ("n",))
        if hide.all():  # then the crossing is not printed at all
            continue
        found = {one.group: (one.low, one.high) for one in attack([crossing, rows, columns], 4)}
        worlds = allowed(people, hide)
        for place, name in enumerate(names):
            values = {int(world.ravel()[place]) for world in worlds}
            target = hide.ravel()[place] or people.ravel()[place] < 4
            expected = (min(values), max(values)) if target and max(values) - min(values) < 4 else None
            assert found.get(name) == expected


def allowed(people, hide):
    """Every 2 × 3 table with the same margins and the same open cells."""
    total, worlds = people.sum(axis=0), []
    for a in range(total[0] + 1):
        for b in range(total[1] + 1):
            c = people[0].sum() - a - b
            world = np.array([[a, b, c], [total[0] - a, total[1] - b, total[2] - c]])
            if (world >= 0).all() and (world[~hide] == people[~hide]).all():
                worlds.append(world)
    return worlds


# The suppression


@pytest.mark.parametrize("least", [5, 10])
@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_recovered_from_random_cities_and_the_plain_rule_fails(seed, least):
    rng = np.random.default_rng([seed, 9])
    sizes = [int(size) for size in rng.integers(2, 9, 3)]
    tables = city(seed, sizes, int(rng.integers(400, 9000)), pairs=[(0, 1)] if seed % 3 == 0 else ())
    safe = suppress(tables, least=least)
    assert attack(safe, least) == []
    assert attack(only_small(tables, least), least)
    assert [(table.attribute, table.groups, table.counts) for table in safe] == [
        (table.attribute, table.groups, table.counts) for table in tables
    ]


@pytest.mark.parametrize("seed", range(6))
def test_one_figure_shown_too_many_is_caught(seed):
    tables = suppress(city(seed, [3, 6], 2500), least=5)
    rng = np.random.default_rng(seed)
    small = [
        (number, name, group)
        for number, table in enumerate(tables)
        for name, group in sorted(table.hidden)
        if name in SHOWN and table.counts[name][table.groups.index(group)] < 5
    ]
    number, name, group = small[int(rng.integers(len(small)))]
    broken = [*tables]
    broken[number] = replace(tables[number], hidden=tables[number].hidden - {(name, group)})
    assert attack(broken, 5)


def test_a_complement_shown_is_caught():
    safe = suppress([simple(3, 40, 900)], least=5)
    assert safe[0].hidden == {("n", "a"), ("n", "b")}
    assert attack([replace(safe[0], hidden=frozenset({("n", "a")}))], 5)


def test_large_groups_lose_nothing():
    tables = city(1, [3, 4], 60_000, even=50.0, k=2000)
    assert min(min(table.counts[name]) for table in tables for name in table.counts) >= 10
    assert [table.hidden for table in suppress(tables, least=10)] == [frozenset(), frozenset()]


def test_most_decided_ratios_of_groups_that_can_be_tested_stay():
    kept = []
    for seed in range(4):
        for table in suppress(city(seed, [2, 4, 6], 40_000), least=5):
            places = zip(table.tested, table.groups, table.counts["found_k_audit"], strict=True)
            kept += [
                not table.is_hidden("recall_ratio@k_audit", group)
                for tested, group, found in places
                if tested and found >= 25  # known to 10 %, it is still one of five numbers
            ]
    assert len(kept) > 30
    assert np.mean(kept) >= 0.9


def test_an_earlier_release_counts():
    first = simple(3, 40, 60, 900).hiding(frozenset({("n", "a"), ("n", "b")}))
    second = simple(3, 40, 60, 900)
    alone = suppress([second], least=5)
    assert attack(alone, 5, earlier=[first]) == []
    other = second.hiding(frozenset({("n", "a"), ("n", "c")}))  # each is safe alone, both together are not
    assert attack([other], 5) == attack([first], 5) == []
    assert next(one.low for one in attack([other], 5, earlier=[first])) == 3
    assert attack(suppress([other], least=5, earlier=[simple(3, 40, 60, 900).hiding(first.hidden)]), 5) == []


def test_a_crossing_of_very_many_groups_is_not_printed():
    names = tuple(f"{a} × {b}" for a in range(25) for b in range(25))
    assert len(names) > MOST_GROUPS
    crossing = CountTable("groups", "p × q", names, {"n": (50,) * 625}, {}, ("n",))
    assert is_silent(suppress([crossing], least=5)[0])


def test_people_pooled_out_of_a_crossing_are_not_given_away():
    crossing = CountTable("groups", "p × q", ("a × x", "a × y", "b × x", "pooled"), {"n": (40, 50, 60, 3)}, {}, ("n",))
    rows = CountTable("groups", "p", ("a", "b"), {"n": (90, 63)}, {"n": 153}, ("n",))
    assert {(one.group, one.column) for one in attack([crossing, rows], 5)} == {
        ("pooled", "n"),
        ("a", "n outside p × q"),  # nobody: that is told of a just as well
        ("b", "n outside p × q"),
    }
    assert attack(suppress([crossing, rows], least=5), 5) == []


def test_withheld_figures_do_not_depend_on_the_order_of_tables():
    tables = city(7, [3, 5], 3000)
    there, back = suppress(tables, least=5), suppress(tables[::-1], least=5)[::-1]
    assert attack(there, 5) == attack(back, 5) == []
    assert suppress(tables, least=5) == there


def test_silence_tells_nothing():
    tables = [silenced(table) for table in city(2, [4], 800)]
    counts = counts_of(tables)
    assert counts.people
    assert [figure for figure in figures_of(tables, counts) if not is_total(figure.terms[0][0])] == []


def test_totals_of_other_people_are_not_mixed_up():
    one = simple(3, 40, 60)
    other = replace(simple(500, 423), attribute="h", groups=("x", "y"))
    safe = suppress([one, other], least=5)
    assert attack(safe, 5) == []
    assert [len(table.hidden) for table in safe] == [2, 0]


def test_a_table_of_its_own_hides_by_itself_and_its_sum_is_taken_as_known():
    table = CountTable("membership", "", ("a", "b", "c"), {"members": (2, 70, 30)}, {}, ("members",))
    safe = suppress([table, simple(30, 40)], least=5)
    assert safe[0].hidden == {("members", "a"), ("members", "c")}
    assert safe[1].hidden == frozenset()


def test_an_ordinary_report_takes_less_than_a_second():
    tables = city(1, [2, 3, 6], 40_000)
    suppress(tables[:1], least=5)  # what is imported once
    start = process_time()
    suppress(tables, least=5)
    assert process_time() - start < 1.0


def test_six_attributes_take_less_than_two_seconds():
    tables = city(1, [2, 4, 5, 8, 12, 20], 70_000)
    start = process_time()
    safe = suppress(tables, least=5)
    assert process_time() - start < 2.0
    assert attack(safe, 5) == []


# What is published of groups (C608)


def test_the_public_tables_hold_against_the_attack():
    for changes in ({"small": 0.0}, {"small": 0.002}, {"small": 0.0003, "drop_label": 0.45}):
        tables = published_tables(fair_table(**changes), 10)
        assert attack(tables, 10) == []
        assert not tables[0].is_hidden(REACHED, "f")


def test_c608_passes_and_blocks(monkeypatch):
    check, table = BUILT["C608"], fair_table(small=0.002)
    assert [(one.state, one.value) for one in check.run(PASSING, Context(POLICY, NOW, table))] == [("pass", 0)]
    plain = [replace(one, hidden=frozenset()) for one in published_tables(table, 10)]
    monkeypatch.setattr("ethics.privacy_checks.published_tables", lambda table, least: plain)
    (blocked,) = check.run(PASSING, Context(POLICY, NOW, replace(table)))
    assert (blocked.state, blocked.facts["names"], blocked.facts["least"]) == ("block", "language=rare", 10)


def test_what_c608_attacked_is_what_the_report_shows_and_neither_is_worked_out_twice(monkeypatch):
    table, worked = replace(fair_table(small=0.002)), []
    monkeypatch.setattr(
        "ethics.report_figures.suppress", lambda tables, **more: worked.append(1) or suppress(tables, **more)
    )
    context = Context(POLICY, NOW, table)
    first, again = (list(BUILT["C608"].run(PASSING, context)) for _ in range(2))
    figures = Figures.beside_page(table, POLICY.min_persons_shown, POLICY.min_persons_public)
    assert first == again and worked == [1]
    public = published_tables(table, POLICY.min_persons_public)
    alone = Figures(replace(table), POLICY.min_persons_shown, earlier=public)
    assert figures.counts == alone.counts
    further = [simple(3, 40, 900)]
    assert Figures.beside_page(table, POLICY.min_persons_shown, POLICY.min_persons_public, further) is not figures
    assert Figures.beside_page(table, 6, POLICY.min_persons_public) is not figures
    assert Figures.beside_page(replace(table), POLICY.min_persons_shown, POLICY.min_persons_public) is not figures
    public.clear()
    assert published_tables(table, POLICY.min_persons_public), "nobody empties what others are given"


def test_c608_without_groups_is_an_error():
    assert [one.state for one in BUILT["C608"].run(PASSING, Context(POLICY, NOW, None))] == ["error"]


def test_without_labels_or_with_few_in_need_nothing_is_published():
    world = people(3000)
    no_label = {name: part for name, part in world.items() if name not in ("probability", "label")}
    assert published_tables(measure(**no_label, label=None, replicates=200), 10) == []
    few = np.zeros(3000)
    few[:6] = 1
    assert published_tables(measure(**world | {"label": few}, replicates=200), 10) == []


# What everyone's figures tell, and what is out already


def test_one_person_in_all_does_not_withhold_everything():
    # 59 of 60 who were listed were in need: of the one who was not, no group can be told, and nothing else need go.
    counts = {"selected_k": (40, 13, 7), "found_k": (40, 12, 7), "need": (900, 400, 210), "n": (9000, 4000, 2100)}
    table = CountTable(
        "groups",
        "g",
        ("a", "b", "c"),
        counts,
        totals={name: sum(people) for name, people in counts.items()},
        shown=("n", "need", "selected_k"),
        rates={"recall@k": ("found_k", "need"), "precision@k": ("found_k", "selected_k")},
        tested=(True, True, True),
    )
    (safe,) = suppress([table], least=5)
    assert attack([safe], 5) == []
    assert {name for name, _ in safe.hidden} <= {"recall@k", "precision@k", "selected_k"}
    assert all(safe.is_hidden("precision@k", group) for group in "abc")


def test_a_page_that_is_out_already_is_reckoned_with():
    table = fair_table(small=0.002)
    public = published_tables(table, 10)
    assert any(not one.is_hidden(REACHED, group) for one in public for group in one.groups)
    together = list(Figures(table, 5, earlier=public).counts.values())
    assert attack(together, 5, earlier=public) == []


def test_c608_attacks_the_report_and_its_crossings_as_well(monkeypatch):
    check, table = BUILT["C608"], replace(fair_table(small=0.002))
    monkeypatch.setattr("ethics.report_figures.suppress", lambda tables, **_: list(tables))
    (blocked,) = check.run(PASSING, Context(POLICY, NOW, table))
    assert blocked.state == "block" and "language=rare" in blocked.facts["names"]


def test_ventiles_that_add_up_to_a_withheld_count_give_it_away():
    table = replace(simple(4, 96, 900), spread={"n": ("n in ventile 1", "n in ventile 2")})
    ventiles = CountTable(
        "ventiles",
        "g / sign",
        ("1", "2"),
        {"events:a": (0, 0), "n:a": (2, 2), "events:b": (9, 8), "n:b": (50, 46)},
        rates={"a": ("events:a", "n:a"), "b": ("events:b", "n:b")},
    )
    all_n = table.hiding(frozenset({("n", "a"), ("n", "b")}))
    open_b = ventiles.hiding(frozenset({("a", "1"), ("a", "2")}))
    assert ("a", "n") in {(one.group, one.column) for one in attack([all_n, open_b], 5)}
    assert attack(suppress([table, ventiles], least=5), 5) == []


def test_words_that_bound_a_count_are_reckoned_with():
    # Two groups too small to be tested, 58 in need in both together: each has 29.
    table = CountTable(
        "groups",
        "g",
        ("a", "b", "c"),
        {"need": (29, 29, 900)},
        {"need": 958},
        ("need",),
        at_most={"need": (29, 29, None)},
    ).hiding(frozenset({("need", "a"), ("need", "b")}))
    assert {(one.group, one.low, one.high) for one in attack([table], 5)} == {("a", 29, 29), ("b", 29, 29)}


def test_a_withheld_number_and_one_that_was_not_measured_are_told_apart():
    table = fair_table(small=0.002)
    verdict = judge(PASSING, table, POLICY, issued_at=NOW)
    figures = Figures(table, 5, earlier=published_tables(table, 10))
    counts = {name: one for (kind, name), one in figures.counts.items() if kind == "groups"}
    told = without_withheld(verdict, counts)
    rows = {(row["attribute"], row["group"]): row for row in told.record["exposure"]}
    assert counts["language"].is_hidden("selected_k", "rare")
    assert rows["language", "rare"]["exposure_ratio"] == rows["language", "rare"]["mean_rank.low"] == WITHHELD
    assert rows["sex", "f"]["exposure_ratio"] not in (None, WITHHELD)
    before = {(check.id, check.group): check for check in verdict.checks}
    for check in told.checks:
        was = before[check.id, check.group]
        assert ("withheld" in check.facts) == (was.value is not None and check.value is None)
