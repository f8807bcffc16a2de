import numpy as np

from models.baselines import run_baselines


def duels(label, ours, rivals, cuts, **options):
    everyone = np.arange(len(label))
    return run_baselines(label=label, ours=ours, rivals=rivals, person=everyone, cuts=cuts, seed=1, **options)


def test_chance_and_the_units_rule_are_met_at_each_cut():
    label = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0.0])
    found = duels(label, -np.arange(10.0), {"unit_rule": np.arange(10.0)}, (2, 5), replicates=50)
    assert [(d.rival, d.cut) for d in found] == [("chance", 2), ("unit_rule", 2), ("chance", 5), ("unit_rule", 5)]
    # The model finds 2 of 2 and 3 of 5; chance finds 3 in 10 of the places; the rule looks at the wrong end.
    assert [d.ours.value for d in found] == [2, 2, 3, 3]
    np.testing.assert_allclose([d.theirs.value for d in found], [0.6, 0, 1.5, 0])
    np.testing.assert_allclose([d.difference.value for d in found], [1.4, 2, 1.5, 3])


def test_equals_share_the_last_places():
    label = np.array([1, 0, 1, 0.0])
    (_, rule) = duels(label, np.array([3, 2, 1, 0.0]), {"unit_rule": np.array([1, 1, 1, 1.0])}, (2,), replicates=50)
    assert (rule.ours.value, rule.theirs.value) == (1.0, 1.0)


def test_a_model_that_knows_beats_both_beyond_doubt_and_one_that_does_not_beats_neither():
    rng = np.random.default_rng(0)
    need = rng.normal(size=3000)
    label = (need + rng.normal(size=3000) > 1.3).astype(float)
    rule = need + 2 * rng.normal(size=3000)
    for duel in duels(label, need, {"unit_rule": rule}, (300,)):
        assert duel.difference.low > 0
    chance, against_rule = duels(label, rng.normal(size=3000), {"unit_rule": rule}, (300,))
    assert chance.difference.low < 0 < chance.difference.high
    assert against_rule.difference.high < 0


def test_the_interval_of_a_difference_holds_the_truth_about_as_often_as_it_says():
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        label = (rng.random(400) < 0.3).astype(float)
        # Two orders that know nothing find as many on average: the true difference is 0.
        difference = duels(label, rng.random(400), {"unit_rule": rng.random(400)}, (100,), replicates=300)[1].difference
        held += difference.low <= 0 <= difference.high
    assert held >= 179
