from datetime import timedelta
from types import SimpleNamespace

import pytest
from ethics_cases import NOW, PASSING, POLICY, attestation, evidence, fair_table, key_ring, people, vouched
from pydantic import ValidationError

from ethics import (
    KeyRing,
    NotTrusted,
    SignedAttestation,
    countersign,
    judge,
    measure,
    open_groups,
    read_attestations,
    sign_attestation,
)
from ethics.attestation import THE_WHOLE
from ethics.verdict import Check
from serving.approval import _statement

ROLES = ("service_owner", "equality_officer", "domain_professional", "auditor")


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    return key_ring(tmp_path_factory.mktemp("home") / "keys", ROLES)


def given(ring, tmp_path, *statements, roles=None, now=NOW):
    """Sign each statement (by every role the policy names, unless told) and read them back."""
    for number, statement in enumerate(statements):
        signers = [ring.signer(role) for role in roles or POLICY.attestations[statement.id].roles]
        (tmp_path / f"{number}.json").write_bytes(sign_attestation(statement, *signers))
    return read_attestations(tmp_path, ring.trust(), now)


def judged(attestations, case=PASSING, table=None):
    return judge(case, table or fair_table(small=0.002), POLICY, (*vouched(), *attestations), issued_at=NOW)


def lifted(verdict):
    """What was lifted beside the attestations that every need has."""
    return [check for check in verdict.checks if check.attested_by and check.id != "C502"]


def used(verdict):
    return [given for given in verdict.attestations if given["check"] != "C502"]


def waiting(verdict):
    return {(check.id, check.group) for check in verdict.checks if check.is_open}


def test_one_at_07_and_one_at_05_lift_the_groups_that_cannot_be_tested(ring, tmp_path):
    before = judged([])
    assert before.state == "INCONCLUSIVE"
    assert open_groups(before.checks, "AT-07") == ["language=rare"]
    assert waiting(before) == {("C401", "language=rare"), ("C403", "language=rare")}
    verdict = judged(given(ring, tmp_path, attestation(), attestation("C403", "AT-05", "domain_professional")))
    assert verdict.state == "PASS_ATTESTED"
    found = lifted(verdict)
    assert {(check.id, check.state) for check in found} == {("C401", "not_testable"), ("C403", "not_testable")}
    assert {given["sha256"] for given in used(verdict)} == {check.attested_by for check in found}


@pytest.mark.parametrize(
    "changes",
    [
        {"group": "language=sv"},
        {"group": ("language=sv", "sex=f")},
        {"model_digest": "0" * 64},
        {"policy_digest": "0" * 64},
        {"need_id": "another_need"},
        {"check": "C403"},
        {"id": "AT-06"},
    ],
)
def test_an_attestation_lifts_nothing_but_what_it_names(ring, tmp_path, changes):
    verdict = judged(given(ring, tmp_path, attestation(**changes), roles=("service_owner", "equality_officer")))
    assert ("C401", "language=rare") in waiting(verdict)
    assert used(verdict) == []


@pytest.mark.parametrize("group", ["language=rare", ("language=rare", "sex=f"), None])
def test_a_group_may_be_named_alone_in_a_list_or_by_none(ring, tmp_path, group):
    verdict = judged(given(ring, tmp_path, attestation(group=group)))
    assert waiting(verdict) == {("C403", "language=rare")}


def test_every_role_the_policy_names_must_have_signed(ring, tmp_path):
    alone = given(ring, tmp_path, attestation(), roles=("service_owner",))
    assert ("C401", "language=rare") in waiting(judged(alone))
    both = countersign(sign_attestation(attestation(), ring.signer("service_owner")), ring.signer("equality_officer"))
    (tmp_path / "0.json").write_bytes(both)
    assert waiting(judged(read_attestations(tmp_path, ring.trust(), NOW))) == {("C403", "language=rare")}


def test_one_person_with_two_keys_is_one_pair_of_eyes(tmp_path):
    ring = KeyRing(tmp_path / "keys")
    for role, name in (("service_owner", "Head  of Services"), ("equality_officer", "ｈead_of services")):
        ring.make(role, name, demonstration=True, days=7, now=NOW - timedelta(days=1))
    (tmp_path / "given").mkdir()
    assert ("C401", "language=rare") in waiting(judged(given(ring, tmp_path / "given", attestation())))


def test_an_attestation_that_lifts_nothing_makes_no_pass_attested(ring, tmp_path):
    verdict = judged(given(ring, tmp_path, attestation()), table=fair_table(small=0.0))
    assert (lifted(verdict), used(verdict)) == ([], [])


def test_nothing_lifts_a_block_or_an_error(ring, tmp_path):
    statements = given(
        ring, tmp_path, attestation(), attestation(id="AT-06", role="equality_officer"), attestation("C801", "AT-01")
    )
    blocked = judged(statements, table=fair_table(small=0.0, drop_label=0.5))
    assert blocked.state == "BLOCK"
    assert judged(statements, evidence(stop_switch_tested_at=None)).state == "BLOCK"
    assert judged(statements, evidence(auc=None)).state == "ERROR"


def test_the_at_05_for_too_few_indicators_lifts_both_its_checks(ring, tmp_path):
    world = {name: part for name, part in people(40_000, small=0.0).items() if name != "indicators"}
    case = evidence(indicator_names=())
    table = measure(**world, replicates=300)
    assert {id for id, _ in waiting(judged([], case, table))} == {"C403", "C404"}
    statement = attestation("C404", "AT-05", "domain_professional")
    assert judged(given(ring, tmp_path, statement), case, table).state == "PASS_ATTESTED"


def finding(group):
    return Check(
        id="C406", version=1, severity="BA", state="needs_attestation", statistic="s", group=group, needs="AT-05"
    )


def stated(verdict, checks):
    """What ``ennakko attest`` writes about these findings."""
    key = SimpleNamespace(name="A", role="domain_professional", valid_to=NOW + timedelta(days=90))
    home = SimpleNamespace(policy=POLICY)
    return _statement(home, verdict, "AT-05", checks, "The label was read by hand.", "City", key, NOW)


def test_a_statement_about_a_finding_without_a_group_speaks_of_no_group():
    verdict = judged([])
    both = stated(verdict, [finding(None), finding("language=other")])
    assert both.group == (THE_WHOLE, "language=other")
    assert [both.speaks_of(group) for group in (None, "language=other", "language=sv")] == [True, True, False]
    alone = stated(verdict, [finding(None)])
    assert [alone.speaks_of(group) for group in (None, "language=other")] == [True, False]
    named = stated(verdict, [finding("language=other")])
    assert [named.speaks_of(group) for group in (None, "language=other")] == [False, True]
    # None is everything only where somebody wrote it.
    assert [attestation(group=None).speaks_of(group) for group in (None, "language=other")] == [True, True]


def test_the_at_05_about_no_group_for_too_few_indicators_still_lifts_each_group(ring, tmp_path):
    world = people(small=0.0)
    world["indicators"] = {"psychiatric care": world["indicators"]["psychiatric care"]}
    case, table = evidence(indicator_names=("psychiatric care",)), measure(**world, seed=7, replicates=400)
    statement = attestation("C404", "AT-05", "domain_professional", group=(THE_WHOLE,))
    assert judged(given(ring, tmp_path, statement), case, table).state == "PASS_ATTESTED"


def test_an_inconclusive_group_may_be_accepted_for_three_months_only(ring, tmp_path):
    table = fair_table(n=7_000, small=0.0)
    inconclusive = [check for check in judged([], table=table).checks if check.state == "inconclusive"]
    assert {check.needs for check in inconclusive} == {"AT-07"}
    for days, lifted in ((91, True), (93, False)):
        old = attestation(given_at=NOW - timedelta(days=days), expires_at=NOW + timedelta(days=100))
        verdict = judged(given(ring, tmp_path, old), table=table)
        groups = [check for check in verdict.checks if check.id == "C401"]
        assert all(bool(check.attested_by) is lifted for check in groups if check.state == "inconclusive")


def test_only_signed_statements_reach_the_judge(ring):
    with pytest.raises(TypeError, match=r"comes from ethics\.read_attestations only"):
        SignedAttestation(attestation(), "0" * 64, ())


def test_every_fault_of_every_file_at_once(ring, tmp_path):
    signer = ring.signer("service_owner")
    good = sign_attestation(attestation(), signer)
    (tmp_path / "a.json").write_bytes(good.replace(b"payload", b"payloae", 1))
    (tmp_path / "b.json").write_bytes(sign_attestation(attestation(expires_at=NOW), signer))
    (tmp_path / "c.json").write_bytes(sign_attestation(attestation(given_at=NOW + timedelta(hours=1)), signer))
    (tmp_path / "d.json").write_bytes(sign_attestation(attestation(role="equality_officer"), signer))
    with pytest.raises(NotTrusted) as refusal:
        read_attestations(tmp_path, ring.trust(), NOW)
    assert [str(fault).split(". ")[0] for fault in refusal.value.faults] == [
        "a.json: is not a readable envelope (KeyError)",
        "b.json: expired at 2026-11-02T09:00:00+00:00",
        "c.json: is given only at 2026-11-02T10:00:00+00:00",
        "d.json: says it is given as equality_officer, but no valid signature is of that role",
    ]


def test_one_byte_changed_in_a_statement_is_not_trusted(ring, tmp_path):
    good = sign_attestation(attestation(), ring.signer("service_owner"))
    for place in range(0, len(good), 11):
        flipped = bytearray(good)
        flipped[place] ^= 1
        (tmp_path / "a.json").write_bytes(bytes(flipped))
        with pytest.raises(NotTrusted):
            read_attestations(tmp_path, ring.trust(), NOW)


def test_an_attestation_is_not_a_verdict_and_a_verdict_not_an_attestation(ring, tmp_path):
    from ethics.signing import VERDICT_TYPE, sign_payload

    (tmp_path / "a.json").write_bytes(sign_payload(b"{}", VERDICT_TYPE, [ring.signer("service_owner")]))
    with pytest.raises(NotTrusted, match="Put only attestations into this folder"):
        read_attestations(tmp_path, ring.trust(), NOW)


def test_no_folder_holds_no_attestations(ring, tmp_path):
    assert read_attestations(tmp_path / "none", ring.trust(), NOW) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"reasons": "fine"},
        {"id": "AT-7"},
        {"check": "401"},
        {"model_digest": "x"},
        {"expires_at": NOW - timedelta(days=9)},
    ],
)
def test_a_statement_without_reasons_or_with_bad_names_is_refused(changes):
    with pytest.raises(ValidationError):
        attestation(**changes)


def test_a_verdict_does_not_outlive_the_statements_it_rests_on(ring, tmp_path):
    two = [attestation(), attestation("C403", "AT-05", "domain_professional", expires_at=NOW + timedelta(days=3))]
    signed = given(ring, tmp_path, *two)
    assert judged(signed).expires_at == NOW + timedelta(days=3)
    # What lifts nothing shortens nothing; the policy's longest life of a statement counts as its end.
    assert judged(signed, table=fair_table(small=0.0)).expires_at == NOW + timedelta(days=90)
    table = fair_table(n=7_000, small=0.0)
    old = attestation(given_at=NOW - timedelta(days=90), expires_at=NOW + timedelta(days=100))
    (tmp_path / "old").mkdir()
    assert judged(given(ring, tmp_path / "old", old), table=table).expires_at == NOW + timedelta(days=2)


def test_a_verdict_that_rests_on_a_demonstration_statement_is_a_demonstration(ring, tmp_path):
    statements = given(ring, tmp_path, attestation(), attestation("C403", "AT-05", "domain_professional"))
    verdict = judged(statements)
    assert verdict.demonstration and verdict.expires_at == NOW + timedelta(days=7)
    unused = judged(statements, table=fair_table(small=0.0))
    assert not unused.demonstration and unused.expires_at == NOW + timedelta(days=90)
