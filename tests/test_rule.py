import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_need import MODEL_NEED, RULE_NEED

from ethics.digests import sha256
from ethics.refusals import BadInput, NotTrusted
from models.need import parse_need
from models.rule import RuleModel, rule_order
from models.training import load_model

COLUMNS = ("waited", "age")


def made_rule():
    return RuleModel.of(parse_need(RULE_NEED.encode(), "screening.toml"))


def naive_order(rows, terms):
    """Positions of rows from first to last by a plain stable sort, last term first."""
    order = list(range(len(rows)))
    for column, descending, missing_first in reversed(terms):

        def key(i, column=column, descending=descending, missing_first=missing_first):
            value = rows[i][column]
            if value is None:
                return (0 if missing_first else 2, 0)
            return (1, -value if descending else value)

        order.sort(key=key)
    return order


values = st.one_of(st.none(), st.integers(0, 3))
terms = st.permutations([0, 1]).flatmap(
    lambda columns: st.tuples(*(st.tuples(st.just(c), st.booleans(), st.booleans()) for c in columns))
)


@given(st.lists(st.tuples(values, values), max_size=30), terms)
def test_the_rank_score_orders_as_the_terms_say(rows, terms):
    X = np.array([[np.nan if v is None else v for v in row] for row in rows], dtype=np.float32).reshape(-1, 2)
    order = [
        f"{COLUMNS[c]} {'desc' if descending else 'asc'} missing {'first' if first else 'last'}"
        for c, descending, first in terms
    ]
    score = rule_order(COLUMNS, X, order)
    assert np.argsort(-score, kind="stable").tolist() == naive_order(rows, terms)
    assert all((score[i] == score[j]) == (rows[i] == rows[j]) for i in range(len(rows)) for j in range(len(rows)))


def test_the_missing_come_last_unless_the_rule_says_first():
    X = np.array([[np.nan], [1.0], [5.0]], dtype=np.float32)
    assert rule_order(["waited"], X, "waited desc").tolist() == [0, 1, 2]
    assert rule_order(["waited"], X, "waited asc").tolist() == [0, 2, 1]
    assert rule_order(["waited"], X, "waited desc missing first").tolist() == [2, 0, 1]


def test_a_term_without_a_column_is_refused():
    with pytest.raises(BadInput) as refused:
        rule_order(COLUMNS, np.zeros((1, 2), np.float32), "wated desc")
    assert str(refused.value) == "rule.order: 'wated' is not a column. Did you mean 'waited'? Allowed: age, waited"
    with pytest.raises(BadInput, match=r"rule\.order: is 'waited': not a column with a direction"):
        rule_order(COLUMNS, np.zeros((1, 2), np.float32), "waited")


def test_a_rule_ranks_and_promises_no_probability():
    rule = made_rule()
    longest, age = rule.columns.index("absence.days_since_last.ever"), rule.columns.index("age")
    X = np.zeros((4, len(rule.columns)), dtype=np.float32)
    X[:, longest], X[:, age] = [10, 20, np.nan, 20], [30, 40, 50, 35]
    assert np.argsort(-rule.raw(X)).tolist() == [2, 3, 1, 0]
    assert rule.predict(X) is None
    assert [str(term) for term in rule.order] == ["absence.days_since_last.ever desc missing first", "age asc"]


def test_a_rule_is_saved_and_loaded_as_its_need_and_columns(tmp_path):
    rule = made_rule()
    rule.save(tmp_path / "rule")
    assert sorted(p.name for p in (tmp_path / "rule").iterdir()) == ["columns.json", "manifest.json", "need.toml"]
    loaded = load_model(tmp_path / "rule", rule.digest)
    assert (loaded.digest, loaded.need.id, loaded.order) == (rule.digest, "screening", rule.order)
    assert rule.digest == sha256((tmp_path / "rule" / "manifest.json").read_bytes()) == made_rule().digest


def test_an_altered_rule_is_not_trusted(tmp_path):
    made_rule().save(tmp_path / "rule")
    need = tmp_path / "rule" / "need.toml"
    need.write_bytes(need.read_bytes().replace(b"age asc", b"age desc"))
    with pytest.raises(NotTrusted, match=r"need\.toml: has SHA-256 .* it was altered"):
        load_model(tmp_path / "rule")


def test_a_learned_need_is_not_a_rule():
    with pytest.raises(BadInput, match=r'youth\.toml: kind: is of kind "model", which has no written order'):
        RuleModel.of(parse_need(MODEL_NEED.encode(), "youth.toml"))
