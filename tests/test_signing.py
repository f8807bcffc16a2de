import base64
import copy
import json
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import cache

import pytest
from ethics_cases import DIGESTS, NOW, PASSING, POLICY, evidence, fair_table, key_ring, trusting, vouched

from ethics import (
    BadInput,
    Blocked,
    Inconclusive,
    KeyRing,
    NotTrusted,
    Refusal,
    StopSwitch,
    VerifiedVerdict,
    countersign,
    judge,
    refusal_ids,
    seal,
    verify,
)
from ethics.digests import canonical_json, sha256

EXPECTED = {name: DIGESTS[name] for name in ("model", "need", "policy", "code", "environment")}


@cache
def verdict_of(**changes):
    options = {name: changes.pop(name) for name in ("issued_at", "demonstration") if name in changes}
    return judge(
        evidence(**changes),
        fair_table(small=0.0),
        POLICY,
        vouched(),
        **{"issued_at": NOW, "demonstration": True, **options},
    )


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    return key_ring(tmp_path_factory.mktemp("home") / "keys")


def signed(ring, verdict=None):
    return countersign(seal(verdict or verdict_of(), ring.signer("gate")), ring.signer("auditor"))


def verified(envelope, ring, tmp_path, **changes):
    options = {
        "cells": fair_table(small=0.0).cells_bytes,
        "trust": ring.trust(),
        "expected": EXPECTED,
        "use": "outreach_ranking",
        "now": NOW + timedelta(hours=1),
        "revoked": (),
        "stop_switch": StopSwitch(tmp_path / "switch"),
        "allow_demonstration": True,
    }
    return verify(envelope, **{**options, **changes})


def faults(refusal, envelope, ring, tmp_path, **changes):
    with pytest.raises(refusal) as found:
        verified(envelope, ring, tmp_path, **changes)
    return [str(fault) for fault in found.value.faults]


def test_a_signed_verdict_is_verified(ring, tmp_path):
    envelope = signed(ring)
    found = verified(envelope, ring, tmp_path)
    assert found.verdict.to_json() == verdict_of().to_json()
    assert found.envelope_sha256 == sha256(envelope)
    assert sorted(signed.key.role for signed in found.signed_by) == ["auditor", "gate"]
    assert repr(found) == f"VerifiedVerdict({found.verdict.verdict_id}, PASS_ATTESTED)"


def test_a_verified_verdict_has_no_other_door(ring, tmp_path):
    found = verified(signed(ring), ring, tmp_path)
    with pytest.raises(TypeError, match=r"comes from ethics\.verify only"):
        VerifiedVerdict(found.verdict, found.envelope_sha256, found.signed_by)
    with pytest.raises(TypeError):
        pickle.dumps(found)
    with pytest.raises(TypeError):
        copy.copy(found)
    with pytest.raises(AttributeError):
        found._verdict = verdict_of(trained_by="x")


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.full)])
def test_one_byte_changed_anywhere_in_the_envelope_is_not_trusted(ring, tmp_path, step):
    envelope = signed(ring)
    ends = (*range(60), *range(len(envelope) - 420, len(envelope)))
    places = sorted({*range(0, len(envelope), 97 * step), *ends[::step]})
    for place in places:
        flipped = bytearray(envelope)
        flipped[place] ^= (1, 32)[place % 2]
        with pytest.raises(NotTrusted):
            verified(bytes(flipped), ring, tmp_path)


@pytest.mark.parametrize("change", [b" ", b"\n", b"x"])
def test_bytes_added_are_not_trusted(ring, tmp_path, change):
    for altered in (signed(ring) + change, change + signed(ring), b""):
        with pytest.raises(NotTrusted):
            verified(altered, ring, tmp_path)


def test_one_byte_changed_in_the_cells_is_named(ring, tmp_path):
    cells = bytearray(fair_table(small=0.0).cells_bytes)
    cells[1000] ^= 1
    (fault,) = faults(NotTrusted, signed(ring), ring, tmp_path, cells=bytes(cells))
    judged = fair_table(small=0.0).cells_digest[:12]
    assert fault == (
        f"subject cells: is {sha256(bytes(cells))[:12]} in use, but {judged} was judged. "
        "Use what was judged, or judge what is used [V38]"
    )


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_subject_that_differs_is_named(ring, tmp_path, name):
    changed = sha256(b"other")
    (fault,) = faults(NotTrusted, signed(ring), ring, tmp_path, expected={**EXPECTED, name: changed})
    assert fault.startswith(f"subject {name}: is {changed[:12]} in use, but {DIGESTS[name][:12]} was judged")
    left = {other: digest for other, digest in EXPECTED.items() if other != name}
    assert faults(NotTrusted, signed(ring), ring, tmp_path, expected=left) == [
        f"subject {name}: was not recomputed. Hash the bytes that will be used [{refusal_ids.SUBJECT[name]}]"
    ]


def test_everything_that_is_wrong_is_said_at_once(ring, tmp_path):
    switch = StopSwitch(tmp_path)
    switch.set("two wrong lists")
    found = faults(
        NotTrusted,
        signed(ring),
        ring,
        tmp_path,
        stop_switch=switch,
        use="sanction",
        revoked=[verdict_of().verdict_id],
        allow_demonstration=False,
        expected={**EXPECTED, "model": "0" * 64},
    )
    assert [fault.split(". ")[0] for fault in found] == [
        "verdict: is a DEMONSTRATION",
        f"verdict: {verdict_of().verdict_id} has been revoked",
        "stop switch: is set (two wrong lists)",
        "use: is 'sanction' where the verdict allows 'outreach_ranking'",
        f"subject model: is 000000000000 in use, but {DIGESTS['model'][:12]} was judged",
    ]


def test_an_envelope_digest_can_be_revoked(ring, tmp_path):
    envelope = signed(ring)
    (fault,) = faults(NotTrusted, envelope, ring, tmp_path, revoked={sha256(envelope)})
    assert "has been revoked" in fault


def test_dates_are_kept_to_the_second(ring, tmp_path):
    long = replace(verdict_of(), expires_at=NOW + timedelta(days=5))
    envelope = signed(ring, long)
    verified(envelope, ring, tmp_path, now=NOW)
    verified(envelope, ring, tmp_path, now=NOW + timedelta(days=5, seconds=-1))
    assert faults(NotTrusted, envelope, ring, tmp_path, now=NOW + timedelta(days=5)) == [
        "verdict: expired at 2026-11-07T09:00:00+00:00. Judge again: ennakko judge [V07]"
    ]
    assert faults(NotTrusted, envelope, ring, tmp_path, now=NOW - timedelta(seconds=1)) == [
        "verdict: is not valid before 2026-11-02T09:00:00+00:00, and it is 2026-11-02T08:59:59+00:00. "
        "Set the clock right, here or where it was judged [V08]"
    ]


def test_a_verdict_that_claims_too_long_a_life_is_not_trusted(ring, tmp_path):
    (fault,) = faults(
        NotTrusted, signed(ring, replace(verdict_of(), expires_at=NOW + timedelta(days=8))), ring, tmp_path
    )
    assert fault.startswith("verdict: claims to hold for 8 days; 7 is the most")


def test_one_signature_is_not_two(ring, tmp_path):
    assert faults(NotTrusted, seal(verdict_of(), ring.signer("gate")), ring, tmp_path) == [
        "verdict: has no valid signature by a key of role auditor (valid: gate). "
        "Have a trusted auditor key sign it: ennakko sign [V04]"
    ]


def test_the_same_key_does_not_sign_twice(ring):
    with pytest.raises(NotTrusted, match="already holds a signature of key"):
        countersign(seal(verdict_of(), ring.signer("gate")), ring.signer("gate"))


def test_the_same_key_under_two_roles_and_the_same_person_twice_do_not_count(ring, tmp_path):
    trust = dict(ring.trust())
    gate_id, gate = next((id, key) for id, key in trust.items() if key.role == "gate")
    auditor_id = next(id for id, key in trust.items() if key.role == "auditor")
    one_name = {**trust, auditor_id: trust[auditor_id].model_copy(update={"name": gate.name})}
    (fault,) = faults(NotTrusted, signed(ring), ring, tmp_path, trust=one_name)
    assert fault == "verdict: is signed twice by the same person. Two different holders must sign [V06]"
    # A second id for the same public key: the signature is copied under it.
    data = json.loads(seal(verdict_of(), ring.signer("gate")))
    data["signatures"].append({**data["signatures"][0], "keyid": "f" * 64})
    data["signatures"].sort(key=lambda signature: signature["keyid"])
    twin = {**trust, "f" * 64: gate.model_copy(update={"role": "auditor", "name": "Another"})}
    (fault,) = faults(NotTrusted, canonical_json(data), ring, tmp_path, trust=twin)
    assert fault == "verdict: is signed twice by the same key. Two different holders must sign [V05]"
    assert gate_id in trust


def test_a_key_of_another_role_does_not_stand_in(tmp_path):
    ring = key_ring(tmp_path / "keys", ("gate", "dpo"))
    envelope = countersign(seal(verdict_of(), ring.signer("gate")), ring.signer("dpo"))
    (fault,) = faults(NotTrusted, envelope, ring, tmp_path)
    assert fault.startswith("verdict: has no valid signature by a key of role auditor (valid: dpo, gate)")


def test_an_unknown_key_is_named(ring, tmp_path):
    stranger = key_ring(tmp_path / "elsewhere", ("auditor",))
    envelope = countersign(seal(verdict_of(), ring.signer("gate")), stranger.signer("auditor"))
    keyid = stranger.signer("auditor").public_key.keyid
    assert faults(NotTrusted, envelope, ring, tmp_path)[0] == (
        f"verdict: is signed by the unknown key {keyid[:12]}. "
        "Add it to trust.json, if its holder is known, or have a trusted key sign [V03]"
    )


def test_an_expired_key_and_one_not_yet_valid_are_named(ring, tmp_path):
    for now, when in ((NOW + timedelta(days=6), "expired at"), (NOW - timedelta(days=2), "is not valid before")):
        found = faults(NotTrusted, signed(ring), ring, tmp_path, now=now)
        assert sum(fault.startswith("key ") and when in fault for fault in found) == 2


def test_the_author_does_not_audit(ring, tmp_path):
    (fault,) = faults(
        NotTrusted,
        signed(ring, replace(verdict_of(), record={**verdict_of().record, "trained_by": "Demonstration auditor"})),
        ring,
        tmp_path,
    )
    assert fault.startswith("verdict: is audited by Demonstration auditor, who trained the model")


def test_a_demonstration_key_cannot_sign_a_real_verdict(ring, tmp_path):
    real = verdict_of(demonstration=False)
    found = faults(NotTrusted, signed(ring, real), ring, tmp_path)
    assert "verdict: is signed by a demonstration key but not marked so. Judge again [V18]" in found
    assert any("claims to hold for 90 days; 7 is the most" in fault for fault in found)


def test_real_keys_sign_for_ninety_days(tmp_path):
    ring = KeyRing(tmp_path / "keys")
    for role in ("gate", "auditor"):
        ring.make(role, f"The {role}", demonstration=False, days=365, now=NOW - timedelta(days=1))
    trusting(ring)
    real = verdict_of(demonstration=False)
    found = verified(signed(ring, real), ring, tmp_path, allow_demonstration=False, now=NOW + timedelta(days=89))
    assert found.verdict.state == "PASS_ATTESTED"


def test_a_blocked_an_inconclusive_and_an_erroneous_verdict_say_why(ring, tmp_path):
    blocked = verdict_of(stop_switch_tested_at=None, use="sanction")
    with pytest.raises(Blocked) as found:
        verified(signed(ring, blocked), ring, tmp_path, use="sanction")
    assert [fault.where for fault in found.value.faults] == ["C102", "C801"]
    with pytest.raises(Inconclusive) as found:
        verified(signed(ring, verdict_of(indicator_names=("one",))), ring, tmp_path)
    assert str(found.value) == "C404: needs_attestation: independent_indicators (1.0). Only AT-05 lifts this"
    with pytest.raises(NotTrusted) as found:
        verified(signed(ring, verdict_of(auc=None)), ring, tmp_path)
    assert [fault.where for fault in found.value.faults] == ["C106"]
    with pytest.raises(NotTrusted) as found:
        verified(signed(ring, blocked), ring, tmp_path)  # the other use: trust comes before the state
    assert [fault.where for fault in found.value.faults] == ["use"]


def test_an_envelope_of_another_type_is_not_a_verdict(ring, tmp_path):
    from ethics.signing import sign_payload

    payload = canonical_json(verdict_of().to_json())
    envelope = sign_payload(payload, "text/plain", [ring.signer("gate"), ring.signer("auditor")])
    (fault,) = faults(NotTrusted, envelope, ring, tmp_path)
    assert fault.startswith("verdict: holds a payload of type 'text/plain'")


def test_a_payload_that_is_no_verdict_is_refused(ring, tmp_path):
    from ethics.signing import VERDICT_TYPE, sign_payload

    for payload in (b"", b"[]", b"{}", b'"x"', b"\xff"):
        envelope = sign_payload(payload, VERDICT_TYPE, [ring.signer("gate"), ring.signer("auditor")])
        with pytest.raises(NotTrusted):
            verified(envelope, ring, tmp_path)


def test_the_payload_is_the_verdict_in_canonical_json(ring):
    payload = base64.b64decode(json.loads(signed(ring))["payload"])
    assert payload == canonical_json(verdict_of().to_json())


def test_what_the_next_verdict_chains_on_does_not_depend_on_who_signed(ring):
    one, two = seal(verdict_of(), ring.signer("gate")), signed(ring)
    payloads = {base64.b64decode(json.loads(envelope)["payload"]) for envelope in (one, two)}
    assert {sha256(payload) for payload in payloads} == {verdict_of().payload_sha256}


def test_a_verdict_that_says_no_says_so_before_the_auditor_signs(ring, tmp_path):
    blocked, open_ = verdict_of(stop_switch_tested_at=None), verdict_of(indicator_names=("one",))
    gate_only = [seal(verdict, ring.signer("gate")) for verdict in (blocked, open_)]
    assert faults(Blocked, gate_only[0], ring, tmp_path)[0].startswith("C801: block: days_since_stop_test")
    assert faults(Inconclusive, gate_only[1], ring, tmp_path)[0].startswith("C404: needs_attestation")
    with pytest.raises(Refusal) as refusal:
        verified(gate_only[0], ring, tmp_path)
    assert refusal.value.exit_code == 20
    # Whatever else is wrong comes first, and an unfinished error stays one.
    found = faults(NotTrusted, gate_only[0], ring, tmp_path, expected={**EXPECTED, "model": "0" * 64})
    assert [fault.split(":")[0] for fault in found] == ["verdict", "subject model"]
    faults(NotTrusted, gate_only[0], ring, tmp_path, revoked=[blocked.verdict_id])
    faults(NotTrusted, gate_only[0], ring, tmp_path, now=NOW + timedelta(days=8))
    faults(NotTrusted, seal(verdict_of(auc=None), ring.signer("gate")), ring, tmp_path)
    # Without the gate's own signature nobody knows who says no.
    faults(NotTrusted, seal(blocked, ring.signer("auditor")), ring, tmp_path)
    # A signature that does not hold is worse than one that is missing.
    stranger = key_ring(tmp_path / "elsewhere", ("auditor",))
    faults(NotTrusted, countersign(gate_only[0], stranger.signer("auditor")), ring, tmp_path)
    data = json.loads(signed(ring, blocked))
    data["signatures"][0]["sig"], data["signatures"][1]["sig"] = (s["sig"] for s in reversed(data["signatures"]))
    faults(NotTrusted, canonical_json(data), ring, tmp_path)


@pytest.mark.parametrize("author", ["Demonstration Auditor", "demonstration  auditor", "auditor"])
def test_the_author_is_known_however_the_name_is_written(ring, tmp_path, author):
    verdict = replace(verdict_of(), record={**verdict_of().record, "trained_by": author})
    assert any("who trained the model" in fault for fault in faults(NotTrusted, signed(ring, verdict), ring, tmp_path))


# Keys


def test_private_keys_are_readable_by_their_owner_only(ring):
    for name in ("gate.pem", "auditor.pem", "trust.json"):
        assert (ring.folder / name).stat().st_mode & 0o077 == 0
    (ring.folder / "gate.pem").chmod(0o644)
    with pytest.raises(NotTrusted, match="has mode 644, so others on this machine could sign"):
        ring.signer("gate")
    (ring.folder / "gate.pem").chmod(0o600)


def test_a_key_in_date_is_not_replaced_and_an_expired_one_is(tmp_path):
    ring = key_ring(tmp_path / "keys", ("gate",))
    first = ring.signer("gate").public_key.keyid
    with pytest.raises(BadInput, match=r"gate.pem: exists and is in date"):
        ring.make("gate", "Again", demonstration=True, days=7, now=NOW)
    second = ring.make("gate", "Again", demonstration=True, days=7, now=NOW + timedelta(days=7))
    assert set(ring.trust()) == {first, second}


def test_many_who_make_keys_at_once_trust_every_key_they_keep(tmp_path):
    start, roles = threading.Barrier(6), ["gate", "auditor"] * 3

    def make(role):
        start.wait()
        try:
            return KeyRing(tmp_path / "keys").make(role, f"The {role}", demonstration=True, days=7, now=NOW)
        except BadInput as refusal:
            return str(refusal)

    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(make, roles))
    ring = KeyRing(tmp_path / "keys")
    kept = {ring.signer(role).public_key.keyid for role in ("gate", "auditor")}
    assert set(ring.trust()) == kept == {keyid for keyid in made if ":" not in keyid}
    assert sum("exists and is in date" in said for said in made) == 4


def test_trust_is_written_before_the_private_key(tmp_path, monkeypatch):
    from ethics import keys

    written = []
    monkeypatch.setattr(keys, "write_whole", lambda path, content: written.append(path.name))
    KeyRing(tmp_path).make("gate", "The gate", demonstration=True, days=7, now=NOW)
    assert written == ["trust.json", "gate.pem"]


def test_every_fault_of_a_new_key_at_once(tmp_path):
    with pytest.raises(BadInput) as found:
        KeyRing(tmp_path).make("audit", " ", demonstration=True, days=30, now=NOW)
    assert [fault.where for fault in found.value.faults] == ["role", "days", "name"]
    assert "Did you mean 'auditor'?" in str(found.value)


def test_a_damaged_trust_file_is_not_trusted(tmp_path):
    ring = key_ring(tmp_path / "keys", ("gate",))
    path = ring.folder / "trust.json"
    entries = json.loads(path.read_text())
    (keyid,) = entries
    for altered in ("{", "[1]", json.dumps({"0" * 64: entries[keyid]}), json.dumps({keyid: {"role": "king"}})):
        path.write_text(altered)
        with pytest.raises(NotTrusted):
            ring.trust()


# The stop switch


def test_the_stop_switch_stops_and_clears(ring, tmp_path):
    switch = StopSwitch(tmp_path / "switch")
    verified(signed(ring), ring, tmp_path, stop_switch=switch)
    switch.set("a wrong list")
    (fault,) = faults(NotTrusted, signed(ring), ring, tmp_path, stop_switch=switch)
    assert fault == "stop switch: is set (a wrong list). Whoever set it must clear it [V14]"
    switch.clear()
    verified(signed(ring), ring, tmp_path, stop_switch=switch)


def test_testing_the_switch_leaves_it_as_it_was(tmp_path):
    switch = StopSwitch(tmp_path / "switch")
    assert switch.tested_at() is None
    switch.test(NOW)
    assert (switch.is_set(), switch.tested_at()) == (False, NOW)
    switch.set("stopped")
    switch.test(NOW + timedelta(days=1))
    assert (switch.is_set(), switch.reason(), switch.tested_at()) == (True, "stopped", NOW + timedelta(days=1))


def test_a_switch_that_does_not_stop_is_not_recorded_as_tested(tmp_path, monkeypatch):
    switch = StopSwitch(tmp_path / "switch")
    monkeypatch.setattr(StopSwitch, "guard", lambda self: None)
    with pytest.raises(Refusal, match="does not stop"):
        switch.test(NOW)
    assert switch.tested_at() is None
    assert PASSING.need_id  # the case itself is untouched
