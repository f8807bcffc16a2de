"""Mitigation on a planted world: cost for a label passes over a group, need for a label does not."""

import io
import json
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import write_city
from ethics_cases import NOW, PASSING, POLICY, attestation, evidence, vouching
from sealed_world import HEAD, RULE_NEED, known_from
from sealed_world import write_city as write_rule_city

from ethics.attestation import sign_attestation
from ethics.check_register import Context
from ethics.checks import BUILT
from ethics.fairness import AT_AUDIT, Cuts, measure
from ethics.groups import GroupRegister
from ethics.keys import trust_bytes
from ethics.mitigation_choices import features_to_drop, worst_group
from ethics.refusals import BadInput
from ethics.verdict import Check
from features.city import open_city
from models.bounded_refits import parameters_of
from models.evidence_files import read_evidence
from models.experiment_layout import lay_out
from models.metrics import found_at_k
from models.mitigation import feature_variants, kept_features, label_variants, laid_out_again, learnt
from models.need import parse_need
from models.registry import logged_digests, run_model
from models.training import train
from serving.cli import main
from serving.gate_question import put_before_gate, running_digests, subject_of
from serving.home import Home
from serving.progress import silent
from serving.settings import Settings

DAYS = (date(2023, 6, 5), date(2024, 6, 3))
NEED = f"""{HEAD[: HEAD.index("[[features]]")].replace("age = [15, 30]", "age = [15, 90]")}
[label]
codes = ["care.cost"]
measure = "sum"
at_least = 300
horizon_days = 180
[[indicators]]
name = "ambulance"
codes = ["emergency.ambulance"]
[[indicators]]
name = "fall"
codes = ["home.fall"]
[[indicators]]
name = "alarm"
codes = ["home.alarm"]
[[indicators]]
name = "fire"
codes = ["home.fire"]
[[features]]
name = "visits"
codes = ["care.visit"]
windows = [180]
measures = ["count"]
{known_from("visits", "patient register")}
[[features]]
name = "symptoms"
codes = ["home.symptom"]
windows = [180]
measures = ["count"]
{known_from("symptoms", "home care register")}
[[features]]
name = "bookings"
codes = ["care.booking"]
windows = [180]
measures = ["count"]
{known_from("bookings", "booking register")}
[splits]
kind = "temporal"
[baseline]
rule = "visits.count.180d desc"
[model]
n_estimators = 40
num_leaves = 8
"""
BY_AMBULANCE = (
    ('codes = ["care.cost"]\nmeasure = "sum"\nat_least = 300\n', 'codes = ["emergency.ambulance"]\n'),
    ('[[indicators]]\nname = "ambulance"\ncodes = ["emergency.ambulance"]\n', ""),
)


def planted(folder, n=6000, seed=3):
    """People of two languages with the same need; the others get less care for it, cost less, and book less."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"{i:06d}" for i in range(n)])
    other = rng.random(n) < 0.35
    need = rng.gamma(1.2, 1.0, n)
    access = np.where(other, 0.25, 1.0)
    events = []
    for day in DAYS:
        for code, rate, first, last in (
            ("care.visit", 0.6 * need, -170, -1),
            ("home.symptom", 5.0 * need, -170, -1),
            ("care.booking", 6.0 * access, -170, -1),
            ("care.cost", 1.5 * need * access, 1, 150),
            ("emergency.ambulance", 0.35 * need, 1, 150),
            ("home.fall", 0.35 * need, 1, 150),
            ("home.alarm", 0.35 * need, 1, 150),
            ("home.fire", np.full(n, 0.001), 1, 150),
        ):
            times = rng.poisson(rate)
            who = np.repeat(ids, times)
            when = rng.integers(first, last, who.size)
            value = 150.0 if code == "care.cost" else None
            events += [(p, day + timedelta(days=int(d)), code, value) for p, d in zip(who.tolist(), when, strict=True)]
    types = {"person_id": pl.String, "event_date": pl.Date, "code": pl.String, "value": pl.Float64}
    frame = pl.DataFrame(events, schema=types, orient="row")
    persons = pl.DataFrame({"person_id": ids, "birth_date": [date(1970, 1, 1)] * n})
    groups = pl.DataFrame(
        {"person_id": ids, "language": np.where(other, "other", "fi"), "sex": rng.choice(["f", "m"], n)}
    )
    return write_city(folder, persons, frame, toml="extract_date = 2025-06-01", groups=groups)


def command(*words):
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(io.StringIO()):
        code = main([*map(str, words)])
    return code, out.getvalue()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mitigation")
    planted(folder / "city")
    (folder / "by_cost.toml").write_text(NEED)
    return folder


@pytest.fixture(scope="module")
def run_id(place):
    words = ("--city", place / "city", "--need", place / "by_cost.toml", "--home", place / "home", "--json")
    code, said = command("train", *words)
    assert code == 0, said
    return json.loads(said)["run_id"]


@pytest.fixture(scope="module")
def said(place, run_id):
    code, told = command("mitigate", "--run", run_id, "--home", place / "home", "--json")
    assert code == 0, told
    return json.loads(told)


@pytest.fixture(scope="module")
def home(place):
    return Home(Settings(home=place / "home"))


@pytest.fixture(scope="module")
def model(home, run_id):
    return run_model(home.registry, run_id)


@pytest.fixture(scope="module")
def laid(place, home, run_id, model):
    digest = json.loads((home.runs / run_id / "evidence.json").read_text())["recorded"]["test_matrix"]
    return laid_out_again(open_city(place / "city"), model, home.objections, silent, test_matrix=digest)


@pytest.fixture(scope="module")
def rows(home, run_id):
    return read_evidence(home.runs / run_id).rows


@pytest.fixture(scope="module")
def languages(place, rows):
    groups = pl.read_parquet(place / "city" / "groups.parquet")
    return (
        rows.select("person_id").join(groups, on="person_id", how="left", maintain_order="left")["language"].to_numpy()
    )


def variant(said, name):
    (row,) = [row for row in said["variants"] if row["variant"] == name]
    return row


def found(row, outcome, cut="k_audit"):
    (line,) = [line for line in row["found"] if line["outcome"] == outcome and line["cut"] == cut]
    return line


def of_group(row, outcome):
    (line,) = [line for line in row["group"] if line["outcome"] == outcome]
    return line


# -- what the table says ---------------------------------------------------------------------------------------------


def test_every_way_is_there_once_and_the_worst_group_is_found(said):
    names = [row["variant"] for row in said["variants"]]
    assert names == [
        "as it is",
        "label: ambulance",
        "label: fall",
        "label: alarm",
        "label: any indicator",
        "weights by language",
        *[name for name in names if name.startswith("without ")],
        "cut by group of language",
    ]
    assert len(set(names)) == len(names)
    assert (said["attribute"], said["group"]) == ("language", "other")
    assert not any("visits" in name for name in names), "the unit's own order reads it"
    (left,) = said["not_tried"]
    assert left["variant"] == "label: fire" and "training rows with a known outcome are in need" in left["why"]


def test_another_label_lifts_the_block_and_finds_the_groups_need(said):
    before, after = variant(said, "as it is"), variant(said, "label: ambulance")
    assert before["state"] == "BLOCK" and "C403" in before["blocks"]
    assert any(alarm["group"] == "language=other" for alarm in before["need_at_score_alarms"])
    assert "C403" not in after["blocks"] and not after["need_at_score_alarms"]
    for outcome in ("ambulance", "fall"):
        assert found(after, outcome)["more_low"] > 0
        assert of_group(after, outcome)["found"] > 1.5 * of_group(before, outcome)["found"]
        assert of_group(before, outcome)["recall_ratio_high"] < 0.8 < of_group(after, outcome)["recall_ratio_low"]
    assert found(after, "label")["more_high"] < 0, "what it costs is told too"


def test_the_cut_by_group_evens_out_recall_within_its_interval(said):
    before, cut = variant(said, "as it is"), variant(said, "cut by group of language")
    line = of_group(cut, "label")
    assert line["recall_ratio_low"] <= 1 <= line["recall_ratio_high"]
    assert of_group(before, "label")["recall_ratio_high"] < 0.8
    assert cut["asks_by_itself"] == "AT-09" in cut["asks"]
    assert "No command applies a cut by group today" in cut["summary"]


def test_weights_ask_for_at_06_and_need_files_for_nothing_of_their_own(said):
    for row in said["variants"]:
        own = {"weights": "AT-06", "cut": "AT-09"}.get(row["kind"])
        assert row["asks_by_itself"] == own
        assert own is None or own in row["asks"]
        assert own is None or row["state"] not in ("PASS", "PASS_ATTESTED")


def test_as_it_is_is_what_a_rehearsal_says(said, place, run_id):
    _, told = command("judge", "--rehearse", "--run", run_id, "--home", place / "home", "--json")
    rehearsed = json.loads(told)
    as_it_is = variant(said, "as it is")
    assert as_it_is["state"] == rehearsed["would_be"]
    assert as_it_is["checks"] == [check for check in rehearsed["checks"] if check["state"] not in ("pass", "warn")]


# -- the same numbers by other means -----------------------------------------------------------------------------------


def test_the_label_variant_is_the_need_file_that_its_words_ask_for(said, laid, model, home, place):
    """The whole path once more, from an edited need file; then people are counted by hand."""
    text = NEED
    for old, new in BY_AMBULANCE:
        assert text.count(old) == 1
        text = text.replace(old, new)
    assert variant(said, "label: ambulance")["change"] == (
        '[label] codes = ["emergency.ambulance"], without measure = "sum" and at_least = 300, '
        "and no indicator 'ambulance'"
    )
    again = lay_out(open_city(place / "city"), parse_need(text.encode(), "by_cost.toml"), home.objections, 0, silent)
    taught = again.matrix.rows(again.taught(again.split.candidate))
    ours = label_variants(laid)[0]
    assert ours.laid.matrix.rows(ours.laid.taught(ours.laid.split.candidate)).digest == taught.digest
    judged = again.matrix.rows(again.judged)
    assert ours.laid.matrix.rows(ours.laid.judged).digest == judged.digest
    score = train(taught, again.need, 0, parameters=parameters_of(model)).raw(judged.X)
    truth = laid.matrix.rows(laid.judged)
    assert truth.keys.equals(judged.keys)
    row, base = variant(said, "label: ambulance"), variant(said, "as it is")
    for cut, places in said["places"].items():
        for outcome, label in (("label", truth.y), *truth.indicators.items()):
            by_hand = found_at_k(np.asarray(label, dtype=float), score, places).value
            assert found(row, outcome, cut)["value"] == pytest.approx(by_hand)
            assert found(row, outcome, cut)["more"] == pytest.approx(by_hand - found(base, outcome, cut)["value"])


def test_nothing_but_the_model_of_the_run_comes_of_no_change(laid, model):
    from models.mitigation import Variant

    assert learnt(Variant("same", "label", "", laid), model).model.digest == model.digest


def test_the_weights_are_those_of_the_formula(said, laid, model, place, rows):
    matrix = laid.matrix.rows(laid.taught(laid.split.candidate))
    groups = dict(pl.read_parquet(place / "city" / "groups.parquet").select("person_id", "language").iter_rows())
    member = np.array([groups[person] for person in matrix.keys["person_id"]])
    weight = np.empty(len(member))
    for group in ("fi", "other"):
        for need in (0.0, 1.0):
            both = (member == group) & (matrix.y == need)
            weight[both] = (member == group).mean() * (matrix.y == need).mean() / both.mean()
    score = train(matrix, laid.need, laid.seed, weights=weight, parameters=parameters_of(model)).raw(
        laid.matrix.rows(laid.judged).X
    )
    truth = laid.matrix.rows(laid.judged)
    line = found(variant(said, "weights by language"), "fall")
    assert line["value"] == pytest.approx(
        found_at_k(truth.indicators["fall"].astype(float), score, line["places"]).value, abs=1
    )


def test_what_the_group_gets_is_counted_by_hand(said, rows, languages):
    """As it is and after the cut: the first k* of everyone, and how many of the group's people in need are there."""
    score, tie = rows["rank_score"].to_numpy(), rows["tie_key"].to_list()
    probability, label = rows["probability"].to_numpy(), rows["label"].to_numpy()
    level = np.empty(len(score))
    for group in ("fi", "other"):
        members = np.flatnonzero(languages == group)
        members = members[np.lexsort((members, -score[members]))]
        share = np.cumsum(probability[members]) - probability[members] / 2
        level[members] = -share / probability[members].sum()
    k = said["places"]["k_audit"]
    for name, order in (("as it is", score), ("cut by group of language", level)):
        first = sorted(range(len(order)), key=lambda i: (-order[i], tie[i]))[:k]
        above = np.zeros(len(order), dtype=bool)
        above[first] = True
        there = (languages == "other") & (label == 1)
        line = of_group(variant(said, name), "label")
        assert (line["found"], line["in_need"]) == (int((there & above).sum()), int(there.sum()))
        ratio = (there & above).sum() / there.sum() / ((label == 1) & above).sum() * (label == 1).sum()
        assert line["recall_ratio"] == pytest.approx(ratio)


# -- what cannot be done, and what leaves ----------------------------------------------------------------------------


def test_no_person_leaves_and_nothing_can_be_approved(said, place, run_id):
    ids = set(pl.read_parquet(place / "city" / "persons.parquet")["person_id"])
    assert not ids & set(json.dumps(said).replace('"', " ").split())
    assert json.loads(Path(said["path"]).read_text())["variants"] == said["variants"]
    assert said["approvable"] is False and not list((place / "home").rglob("verdict.json"))
    assert sorted(path.name for path in (place / "home" / "runs").iterdir() if path.is_dir()) == [run_id]
    assert command("keys", "demo", "--home", place / "home")[0] == 0
    for word in ("sign", "approve"):
        code, told = command(word, "--verdict", said["path"], "--home", place / "home", "--json")
        assert code == 30 and json.loads(told)["errors"][0]["code"] == "V01"


def test_in_words_it_has_a_paragraph_for_each_way(said, capsys):
    from serving.mitigation_words import say_mitigated

    say_mitigated(said)
    told = capsys.readouterr().out
    for row in said["variants"]:
        assert f"\n{row['variant']}. The gate would say {row['state']}" in told
    assert "nothing here can be approved" in told


def test_an_unknown_attribute_is_refused_with_those_there_are(place, run_id):
    code, told = command("mitigate", "--run", run_id, "--attribute", "languge", "--home", place / "home", "--json")
    assert code == 2 and "Did you mean 'language'? Allowed: language, sex" in json.loads(told)["errors"][0]["mend"]


def test_an_attribute_that_is_asked_for_is_taken(home, run_id):
    from datetime import UTC, datetime

    from serving.mitigation_work import _lay_bench

    bench, _ = _lay_bench(home, run_id, None, silent, datetime.now(UTC), "sex")
    assert bench.worst.attribute == "sex" and bench.worst.group in ("f", "m")


def test_a_city_that_has_changed_since_is_refused(place, home, run_id, model):
    with pytest.raises(BadInput, match="does not give what it is judged on any more"):
        laid_out_again(open_city(place / "city"), model, home.objections, silent, test_matrix="0" * 64)


def test_a_written_rule_has_nothing_to_learn_otherwise(tmp_path):
    city = write_rule_city(tmp_path / "city", units=True)
    ids = pl.read_parquet(city / "persons.parquet")["person_id"]
    pl.DataFrame({"person_id": ids, "sex": ["f", "m"] * (len(ids) // 2)}).write_parquet(city / "groups.parquet")
    (tmp_path / "youth.toml").write_text(RULE_NEED)
    words = ("--home", tmp_path / "home", "--json")
    code, told = command("train", "--city", city, "--need", tmp_path / "youth.toml", *words)
    code, told = command("mitigate", "--run", json.loads(told)["run_id"], *words)
    (error,) = json.loads(told)["errors"]
    assert code == 2 and "written rule" in error["wrong"] and "Change the order" in error["mend"]


def test_what_was_vouched_for_the_model_lifts_nothing_of_an_order_put_after_it(home, run_id, model, place):
    """AT-02 and AT-04 were given about the scores of the run; nobody has vouched for another order of the people."""
    now = datetime.now(UTC)
    ring, folder = vouching(), home.attestation_folder(model.need.id, model.digest)
    trusted = home.key_ring.folder / "trust.json"
    before = trusted.read_bytes() if trusted.exists() else None
    folder.mkdir(parents=True, exist_ok=True)
    trusted.parent.mkdir(parents=True, exist_ok=True)
    trusted.write_bytes(trust_bytes({**home.key_ring.trust(), **ring.trust()}))
    names = {"need_id": model.need.id, "model_digest": model.digest, "policy_digest": home.policy.digest}
    names |= {"given_at": now - timedelta(hours=1), "expires_at": now + timedelta(days=1)}
    for id in home.policy.required_attestations:
        roles = home.policy.attestations[id].roles
        signed = sign_attestation(attestation("C502", id, roles[0], **names), *map(ring.signer, roles))
        (folder / f"{id}.json").write_bytes(signed)
    try:
        lifted = []
        for changed in (None, lambda evidence: evidence):
            answer = put_before_gate(
                home,
                model,
                read_evidence(home.runs / run_id),
                GroupRegister.open(place / "city" / "groups.parquet"),
                subject={**subject_of(model, logged_digests(home.registry, run_id)), **running_digests(home)},
                record=home.run_record(run_id),
                now=now,
                changed=changed,
            )
            lifted.append([check.facts["names"] for check in answer.verdict.checks if check.attested_by])
    finally:
        for id in home.policy.required_attestations:
            (folder / f"{id}.json").unlink()
        trusted.unlink() if before is None else trusted.write_bytes(before)
    assert lifted == [list(home.policy.required_attestations), []]


# -- choices -----------------------------------------------------------------------------------------------------------


def check(id, state, group, value=None, threshold=None):
    return Check(
        id=id, version=1, severity="BA", state=state, statistic="s", group=group, value=value, threshold=threshold
    )


def test_the_gravest_finding_names_the_group():
    checks = [
        check("C401", "needs_attestation", "sex=f", 0.5, 0.8),
        check("C402", "block", "area × sex=north × f", 0.4, 0.8),
        check("C401", "pass", "age=old", 1.0, 0.8),
    ]
    assert worst_group(checks, ["sex", "age", "area"]) == ("area", "north")
    assert worst_group(checks, ["sex"]) == ("sex", "f")
    assert worst_group(checks, ["age"]) is None
    further = [*checks, check("C401", "needs_attestation", "sex=m", 0.3, 0.8)]
    assert worst_group(further, ["sex"]) == ("sex", "m")


def test_a_proxy_that_gains_and_is_worth_nothing_is_dropped_as_c604_warns():
    """Trees gain from noise too: C604 asks what people are lost without the feature, and so does mitigation."""
    row = {**PASSING.column_proxies[0], "auc": 0.9, "auc_low": 0.85, "auc_high": 0.95, "gain": 0.05}
    worth = {**PASSING.feature_value[0], "worth": 0.01, "low": -0.01, "high": 0.03}
    case = evidence(column_proxies=(row,), feature_value=(worth,))
    checks = BUILT["C604"].run(case, Context(POLICY, NOW))
    assert [check.state for check in checks] == ["warn"]
    assert features_to_drop(checks, case, POLICY) == [("absence", "named by C604")]


def test_what_the_units_order_reads_stays_and_a_last_feature_too(laid):
    assert kept_features(laid.need) == ["visits"]
    one = laid.need.model_copy(update={"features": laid.need.features[:1]})
    assert kept_features(one) == ["visits"]
    (without, _, both) = feature_variants(laid, [("symptoms", "why"), ("bookings", "why")])
    assert without.laid.matrix.names == without.laid.need.columns == ("visits.count.180d", "bookings.count.180d")
    assert both.name == "without symptoms, bookings" and both.laid.matrix.names == ("visits.count.180d",)


def test_a_label_that_counts_events_stays_among_any_sign(place, home):
    text = NEED.replace('measure = "sum"\nat_least = 300\n', "")
    laid = lay_out(open_city(place / "city"), parse_need(text.encode(), "by_cost.toml"), home.objections, 0, silent)
    both = label_variants(laid)[-1]
    assert both.name == "label: the label or any indicator"
    assert both.laid.need.label.codes == ("care.cost", "emergency.ambulance", "home.fall", "home.alarm", "home.fire")
    signs = [laid.matrix.y == 1, *laid.matrix.indicators.values()]
    known = np.isfinite(laid.matrix.y)
    assert np.array_equal(both.laid.matrix.y[known] == 1, np.any(signs, axis=0)[known])
    assert tomllib.loads(both.change.partition(", and")[0].replace("[label] ", ""))["codes"] == list(
        both.laid.need.label.codes
    )
    assert not both.laid.need.indicators and not both.laid.matrix.indicators


def test_the_register_gives_numbers_and_keeps_the_groups():
    groups = GroupRegister(
        pl.DataFrame({"person_id": ["1", "2", "3"], "sex": ["f", "m", "m"], "area": list("aab")}), "g"
    )
    rows = pl.DataFrame({"person_id": ["1", "2", "3", "3"], "label": [1.0, 0.0, 1.0, None]})
    weights = groups.balancing_weights(rows, "sex")
    assert weights.dtype == np.float64 and weights.shape == (4,) and weights[3] == 1
    assert groups.only("area").attributes == ("area",)
    with pytest.raises(BadInput, match="Did you mean 'sex'"):
        groups.balancing_weights(rows, "sx")
    judged = pl.DataFrame(
        {
            "person_id": ["1", "2", "3"],
            "rank_score": [3.0, 2.0, 1.0],
            "tie_key": ["a", "b", "c"],
            "probability": [None] * 3,
            "label": [1.0, 0.0, 1.0],
        }
    )
    with pytest.raises(BadInput, match="give calibrated probabilities"):
        groups.equal_recall_order(judged, "sex")


def test_an_order_of_equal_recall_keeps_the_overall_need_found():
    """The measure of the gate agrees with the promise of the order, on a calibrated world of unequal base rates."""
    rng = np.random.default_rng(5)
    n = 30_000
    member = rng.choice(["a", "b"], n, p=[0.8, 0.2])
    chance = rng.beta(1, 10, n) * np.where(member == "b", 0.5, 1.0)
    ids = [str(i) for i in range(n)]
    groups = GroupRegister(pl.DataFrame({"person_id": ids, "of": member}), "g")
    frame = pl.DataFrame({"person_id": ids, "rank_score": chance, "tie_key": ids, "probability": chance})
    label = (rng.random(n) < chance).astype(float)
    order = groups.equal_recall_order(frame.with_columns(pl.Series("label", label)), "of")
    table = measure(label=label, groups={"of": member}, score=order, cuts=Cuts(1000, 6000), tie_key=ids)
    ratio = table.get("of", "b", "recall_ratio", AT_AUDIT)
    assert ratio.low <= 1 <= ratio.high


def test_the_worst_off_are_told_as_a_rehearsal_tells_them(said, place, run_id):
    _, told = command("judge", "--rehearse", "--run", run_id, "--home", place / "home", "--json")
    told = {row["group"]: row for row in json.loads(told)["groups"] if row["attribute"] == said["attribute"]}
    worst = variant(said, "as it is")["worst_off"]
    assert worst is None or worst["recall_ratio"] == pytest.approx(told[worst["group"]]["recall_ratio"], abs=0.0051)
    assert worst is None or round(worst["recall_ratio"], 2) == worst["recall_ratio"]
