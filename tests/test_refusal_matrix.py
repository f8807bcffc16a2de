"""Each way in which a verdict can be wrong is refused with its own id, exit 30, and no score leaves."""

import base64
import io
import json
import socket
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import timedelta

import pytest
from ethics_cases import NOW, POLICY, evidence, fair_table, key_ring, vouched, vouching
from sealed_world import AS_OF, World
from sealed_world import NOW as WORLD_NOW
from test_signing import verdict_of, verified

from ethics import NotTrusted, StopSwitch, countersign, judge, refusal_ids, seal
from ethics.digests import canonical_json
from ethics.refusal_ids import MEANING, SUBJECT
from ethics.verdict import NO_GROUP, NO_SUCH_CHECK, NOT_A_NUMBER, Check
from models.registry import approved_model
from serving.approval import RECORDED
from serving.cli import main

VERDICT = verdict_of()
EXPECTED = {name: VERDICT.subject[name] for name in SUBJECT if name != "cells"}
OTHER = "0" * 64


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    return key_ring(tmp_path_factory.mktemp("home") / "keys", ("gate", "auditor", "dpo"))


def signed(ring, verdict=VERDICT, second="auditor"):
    return countersign(seal(verdict, ring.signer("gate")), ring.signer(second))


def codes(envelope, ring, tmp_path, **changes):
    """The ids a verification is refused with; it must be a refusal that ends a command with 30."""
    with pytest.raises(NotTrusted) as refusal:
        verified(envelope, ring, tmp_path, **{"expected": EXPECTED, **changes})
    assert refusal.value.exit_code == 30
    for fault in refusal.value.faults:
        assert fault.code in MEANING and str(fault).endswith(f"[{fault.code}]")
    return [fault.code for fault in refusal.value.faults]


def flipped_in_payload(envelope, change):
    """The envelope with its payload changed and its signatures as they were."""
    data = json.loads(envelope)
    payload = json.loads(base64.b64decode(data["payload"]))
    change(payload)
    data["payload"] = base64.b64encode(canonical_json(payload)).decode("ascii")
    return canonical_json(data)


def next_character(text):
    return ("1" if text[0] == "0" else "0") + text[1:]


def test_ids_are_unique_and_each_says_what_it_means():
    named = [value for name, value in vars(refusal_ids).items() if name.isupper() and isinstance(value, str)]
    assert len(set(named)) == len(named) and set(named) | set(SUBJECT.values()) == set(MEANING)
    assert len(set(MEANING.values())) == len(MEANING)


def test_a_verdict_that_holds_is_not_refused(ring, tmp_path):
    assert verified(signed(ring), ring, tmp_path, expected=EXPECTED).verdict.state == "PASS_ATTESTED"


@pytest.mark.parametrize("name", SUBJECT)
def test_one_character_changed_in_a_signed_subject(ring, tmp_path, name):
    def change(payload):
        value = payload["subject"][name]
        payload["subject"][name] = value + 1 if isinstance(value, int) else next_character(value)

    found = codes(flipped_in_payload(signed(ring), change), ring, tmp_path)
    assert found == ["V02", "V02", "V16", SUBJECT[name]]


@pytest.mark.parametrize("name", SUBJECT)
def test_a_signed_subject_that_is_not_the_one_in_use(ring, tmp_path, name):
    value = VERDICT.subject[name]
    other = value + 1 if isinstance(value, int) else next_character(value)
    verdict = replace(VERDICT, subject={**VERDICT.subject, name: other})
    assert codes(signed(ring, verdict), ring, tmp_path) == [SUBJECT[name]]


def edited(**changes):
    return lambda: replace(VERDICT, **changes)


def judged(**changes):
    table = changes.pop("table", fair_table(small=0.0))
    return lambda: judge(evidence(**changes), table, POLICY, vouched(), issued_at=NOW, demonstration=True)


NAN = {"value": float("nan"), "low": 0.7, "high": 0.8}
VERDICTS = {
    "a required check that did not run": (
        edited(checks=tuple(check for check in VERDICT.checks if check.id != "C105")),
        "V20",
    ),
    "a required check that does not exist": (
        edited(
            required=(*VERDICT.required, "C999"),
            checks=(
                *VERDICT.checks,
                Check(
                    id="C999",
                    version=0,
                    severity="B",
                    state="error",
                    statistic="error",
                    facts={"wrong": "no such check is built"},
                ),
            ),
        ),
        "V21",
    ),
    "a statistic that is not a number": (judged(auc=NAN), "V22"),
    "no group at all": (judged(table=None), "V23"),
    "a check without its evidence": (judged(auc=None), "V24"),
    "expired a second ago": (
        edited(issued_at=NOW - timedelta(days=1), expires_at=NOW + timedelta(hours=1, seconds=-1)),
        "V07",
    ),
    "a clock that is behind": (edited(issued_at=NOW + timedelta(hours=1, seconds=1)), "V08"),
    "too long a life": (edited(expires_at=NOW + timedelta(days=8)), "V17"),
    "audited by who trained": (
        edited(record={**VERDICT.record, "trained_by": "Demonstration auditor"}),
        "V19",
    ),
    "not marked as a demonstration": (edited(demonstration=False), "V18"),
}


@pytest.mark.parametrize("what", VERDICTS)
def test_a_verdict_that_says_what_it_may_not(ring, tmp_path, what):
    made, expected = VERDICTS[what]
    options = {} if made().subject.get("cells") else {"cells": b""}
    found = codes(signed(ring, made()), ring, tmp_path, **options)
    assert set(found) - set(SUBJECT.values()) == {expected}


def test_who_signs(ring, tmp_path):
    assert codes(seal(VERDICT, ring.signer("gate")), ring, tmp_path) == ["V04"]
    assert codes(signed(ring, second="dpo"), ring, tmp_path) == ["V04"]
    trust = dict(ring.trust())
    auditor = ring.signer("auditor").public_key.keyid
    gate = ring.signer("gate").public_key.keyid
    without = {id: key for id, key in trust.items() if id != auditor}
    assert codes(signed(ring), ring, tmp_path, trust=without) == ["V03", "V04"]
    one_holder = {**trust, auditor: trust[auditor].model_copy(update={"name": trust[gate].name})}
    assert codes(signed(ring), ring, tmp_path, trust=one_holder) == ["V06"]
    spelt = {**trust, auditor: trust[auditor].model_copy(update={"name": "  DEMONSTRATION\u00a0gate"})}
    assert codes(signed(ring), ring, tmp_path, trust=spelt) == ["V06"]
    with pytest.raises(NotTrusted) as refusal:
        countersign(signed(ring), ring.signer("gate"))
    assert [fault.code for fault in refusal.value.faults] == ["V05"]
    data = json.loads(seal(VERDICT, ring.signer("gate")))
    data["signatures"] = sorted(
        [*data["signatures"], {**data["signatures"][0], "keyid": "f" * 64}], key=lambda signature: signature["keyid"]
    )
    twin = {**trust, "f" * 64: trust[gate].model_copy(update={"role": "auditor", "name": "Another"})}
    assert codes(canonical_json(data), ring, tmp_path, trust=twin) == ["V05"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"valid_to": NOW}, "V09"),
        ({"valid_from": NOW + timedelta(days=1)}, "V10"),
        ({"revoked_at": NOW, "revoked_because": "lost"}, "V11"),
        ({"retired_at": NOW - timedelta(hours=1)}, "V12"),
    ],
)
def test_a_signers_key_that_does_not_count(ring, tmp_path, changes, code):
    trust = dict(ring.trust())
    auditor = ring.signer("auditor").public_key.keyid
    trust[auditor] = trust[auditor].model_copy(update=changes)
    found = codes(signed(ring), ring, tmp_path, trust=trust)
    assert [each for each in found if each != "V04"] == [code]


def test_a_statement_whose_signer_is_not_believed_any_more(ring, tmp_path):
    trust = dict(ring.trust())
    signer = VERDICT.attestations[0]["signers"][0]["keyid"]

    def found(**changes):
        return codes(signed(ring), ring, tmp_path, trust={**trust, signer: trust[signer].model_copy(update=changes)})

    n = sum(signer in [each["keyid"] for each in given["signers"]] for given in VERDICT.attestations)
    assert found(revoked_at=NOW, revoked_because="lost") == ["V30"] * n
    without = {keyid: key for keyid, key in trust.items() if keyid != signer}
    assert codes(signed(ring), ring, tmp_path, trust=without) == ["V30"] * n
    unsigned = replace(VERDICT, attestations=tuple({**given, "signers": []} for given in VERDICT.attestations))
    assert codes(signed(ring, unsigned), ring, tmp_path) == ["V30"] * len(VERDICT.attestations)
    # What has expired or was retired since had been in date when the gate read the statement.
    past = {"valid_to": NOW, "retired_at": NOW}
    verified(
        signed(ring), ring, tmp_path, expected=EXPECTED, trust={**trust, signer: trust[signer].model_copy(update=past)}
    )


def test_what_forbids_any_verdict(ring, tmp_path):
    switch = StopSwitch(tmp_path / "stop")
    switch.set("two wrong lists")
    assert codes(signed(ring), ring, tmp_path, stop_switch=switch) == ["V14"]
    assert codes(signed(ring), ring, tmp_path, revoked=[VERDICT.verdict_id]) == ["V13"]
    assert codes(signed(ring), ring, tmp_path, use="sanction") == ["V15"]
    assert codes(signed(ring), ring, tmp_path, allow_demonstration=False) == ["V18"]
    assert codes(signed(ring) + b" ", ring, tmp_path) == ["V01"]
    assert codes(b"{", ring, tmp_path) == ["V01"]


# ---- through the command: exit 30, its id, and no file of scores or of a list -----------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A model that is really approved, and scores once."""
    world = World(tmp_path_factory.mktemp("matrix"))
    world.verdict_path = world.approve()
    world.need_file = world.folder / "youth.toml"
    world.need_file.write_text(world.need_text)
    subject = world.verdict.subject
    kept = {name: str(subject[name]) for name in RECORDED}
    world.home.audit_log.append("judge", "gate", verdict=world.verdict.verdict_id, **kept)
    code, said = command(world, "score")
    assert code == 0 and said["n"] > 100
    return world


WORDS = ("approve", "score", "list", "serve")
"""Every command that could let a score leave, or make a model the one in use."""


def command(world, word):
    """A command as it is typed. ``serve`` is given a port that is taken: where nothing refuses it, it ends at once."""
    city = ("--city", world.folder / "city", "--need", world.need_file)
    words = {
        "approve": ("approve", "--verdict", world.verdict_path),
        "score": ("score", *city, "--as-of", AS_OF),
        "list": ("list", *city, "--as-of", AS_OF),
        "serve": ("serve", *city),
    }[word]
    out = io.StringIO()
    with socket.socket() as taken, redirect_stdout(out), redirect_stderr(io.StringIO()):
        taken.bind(("127.0.0.1", 0))
        port = ("--port", taken.getsockname()[1]) if word == "serve" else ()
        code = main([*map(str, (*words, *port)), "--home", str(world.home.root), "--json"])
    return code, json.loads(out.getvalue())


def left_behind(world):
    """Files of scores and lists, and which verdict is approved."""
    files = sorted(path for folder in (world.home.scores, world.home.lists) for path in folder.rglob("*"))
    approved = [facts["verdict"] for facts in world.home.audit_log.facts_of("approve")]
    return files, approved, approved_model(world.home.registry, "youth").tags["verdict"]


def resigned(world, **changes):
    verdict = replace(world.verdict, **changes)
    return countersign(seal(verdict, world.keys.signer("gate")), world.keys.signer("auditor"))


def with_subject(name):
    def change(world):
        value = world.verdict.subject[name]
        other = value + 1 if isinstance(value, int) else next_character(value)
        return resigned(world, subject={**world.verdict.subject, name: other})

    return change


def flipped(name):
    def change(world):
        def one(payload):
            value = payload["subject"][name]
            payload["subject"][name] = value + 1 if isinstance(value, int) else next_character(value)

        return flipped_in_payload(world.envelope, one)

    return change


ENVELOPES = {
    **{f"another {name}": (with_subject(name), SUBJECT[name]) for name in SUBJECT},
    **{f"one character of {name}": (flipped(name), SUBJECT[name]) for name in SUBJECT},
    "expired a second ago": (
        lambda w: resigned(w, issued_at=WORLD_NOW - timedelta(days=1), expires_at=WORLD_NOW - timedelta(seconds=1)),
        "V07",
    ),
    "issued tomorrow": (
        lambda w: resigned(w, issued_at=WORLD_NOW + timedelta(days=1), expires_at=WORLD_NOW + timedelta(days=2)),
        "V08",
    ),
    "signed by the gate alone": (lambda w: seal(w.verdict, w.keys.signer("gate")), "V04"),
    "a check left out": (
        lambda w: resigned(w, checks=tuple(check for check in w.verdict.checks if check.id != "C301")),
        "V20",
    ),
    "a check that does not exist": (lambda w: resigned(w, **unanswered(w, "C999", NO_SUCH_CHECK)), "V21"),
    "a statistic that is not a number": (lambda w: resigned(w, **unanswered(w, "C106", NOT_A_NUMBER)), "V22"),
    "no group": (lambda w: resigned(w, **unanswered(w, "C401", NO_GROUP)), "V23"),
    "a check that could not be answered": (lambda w: resigned(w, **unanswered(w, "C105", "Unanswerable")), "V24"),
    "signed in the wrong role": (
        lambda w: countersign(seal(w.verdict, w.keys.signer("gate")), vouching().signer("dpo")),
        "V04",
    ),
    "too long a life": (lambda w: resigned(w, expires_at=w.verdict.issued_at + timedelta(days=200)), "V17"),
    "audited by who trained": (
        lambda w: resigned(w, record={**w.verdict.record, "trained_by": "Demonstration auditor"}),
        "V19",
    ),
    "for another use": (lambda w: resigned(w, use="sanction"), "V15"),
    "a statement that nobody signed": (
        lambda w: resigned(w, attestations=tuple({**given, "signers": []} for given in w.verdict.attestations)),
        "V30",
    ),
    "damaged": (lambda w: w.envelope[:-1], "V01"),
}


def unanswered(world, id, wrong):
    """The world's checks with one that is an error, as the gate writes it."""
    error = Check(id=id, version=1, severity="B", state="error", statistic="error", facts={"wrong": wrong})
    others = tuple(check for check in world.verdict.checks if check.id != id)
    required = tuple(dict.fromkeys((*world.verdict.required, id)))
    return {"checks": (*others, error), "required": required}


@pytest.mark.parametrize("what", ENVELOPES)
@pytest.mark.parametrize("word", WORDS)
def test_no_score_leaves_on_a_verdict_that_was_touched(world, word, what):
    change, expected = ENVELOPES[what]
    before = left_behind(world)
    world.verdict_path.write_bytes(change(world))
    try:
        code, said = command(world, word)
    finally:
        world.verdict_path.write_bytes(world.envelope)
    assert code == 30
    assert expected in [fault.get("code") for fault in said["errors"]]
    assert left_behind(world) == before


def with_key(world, whose, **changes):
    """The home's public keys, one of them otherwise."""
    keys = json.loads(world.home.trust_path.read_bytes())
    keys[world.keys.signer(whose).public_key.keyid] |= changes
    return json.dumps(keys).encode()


LONG_AGO = (WORLD_NOW - timedelta(days=30)).isoformat()
TRUST = {
    "one holder twice": (lambda w: with_key(w, "auditor", name="Demonstration gate"), {"V06"}),
    "a revoked key": (lambda w: with_key(w, "auditor", revoked_at=LONG_AGO, revoked_because="lost"), {"V11"}),
    "a key in another role": (lambda w: with_key(w, "auditor", role="dpo"), {"V04"}),
    "an expired key": (lambda w: with_key(w, "gate", valid_from="2020-01-01T00:00:00Z", valid_to=LONG_AGO), {"V09"}),
}


@pytest.mark.parametrize("what", TRUST)
@pytest.mark.parametrize("word", WORDS)
def test_no_score_leaves_on_keys_that_are_not_believed(world, word, what):
    change, expected = TRUST[what]
    before, trust = left_behind(world), world.home.trust_path.read_bytes()
    world.home.trust_path.write_bytes(change(world))
    try:
        code, said = command(world, word)
    finally:
        world.home.trust_path.write_bytes(trust)
    assert code == 30 and expected <= {fault.get("code") for fault in said["errors"]}
    assert left_behind(world) == before


@pytest.mark.parametrize("word", WORDS)
def test_one_key_signs_no_second_time(world, word):
    """The gate's signature under another id, with a trust file that calls it an auditor's."""
    data = json.loads(seal(world.verdict, world.keys.signer("gate")))
    data["signatures"] += [{**data["signatures"][0], "keyid": "f" * 64}]
    before = left_behind(world)
    world.verdict_path.write_bytes(canonical_json(data))
    try:
        code, said = command(world, word)
    finally:
        world.verdict_path.write_bytes(world.envelope)
    assert code == 30 and "V03" in {fault.get("code") for fault in said["errors"]}
    assert left_behind(world) == before


@pytest.mark.parametrize("word", WORDS)
def test_no_score_leaves_while_the_stop_switch_is_set(world, word):
    before = left_behind(world)
    world.stop_switch.set("a wrong list")
    try:
        code, said = command(world, word)
    finally:
        world.stop_switch.clear()
    assert (code, [fault["code"] for fault in said["errors"]]) == (30, ["V14"])
    assert left_behind(world) == before


@pytest.mark.parametrize("word", WORDS)
def test_other_cells_than_those_judged_let_no_score_leave(world, word):
    before, path = left_behind(world), world.verdict_path.with_name("cells.parquet")
    for content in (world.cells[:-1] + b"x", b""):
        path.write_bytes(content)
        try:
            code, said = command(world, word)
        finally:
            path.write_bytes(world.cells)
        assert code == 30 and "V38" in [fault.get("code") for fault in said["errors"]]
    assert left_behind(world) == before


def test_a_revoked_verdict_stays_revoked_when_the_list_is_edited(world):
    """Last of the file: nothing takes a revocation back."""
    out = io.StringIO()
    words = ("revoke", "--verdict", world.verdict.verdict_id, "--reason", "a wrong list", "--home", world.home.root)
    with redirect_stdout(out):
        assert main([*map(str, words), "--json"]) == 0
    listed = world.home.verdicts / "revoked.json"
    assert json.loads(listed.read_text()) == [world.verdict.verdict_id]
    for content in (listed.read_text(), "[]", None):
        listed.unlink() if content is None else listed.write_text(content)
        for word in WORDS:
            code, said = command(world, word)
            assert (code, [fault["code"] for fault in said["errors"]]) == (30, ["V13"])
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        assert main([*map(str, words), "--json"]) == 2
