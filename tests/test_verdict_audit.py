"""What an auditor can verify from files alone: everything an edit could touch is named, and what is not checked too."""

import base64
import io
import json
import math
import shutil
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import polars as pl
import pytest
from ethics_cases import NOW, PASSING, POLICY, evidence, key_ring, people, vouched

from ethics import Cuts, countersign, judge, measure, render_report, seal
from ethics.cells import audit_cut, cells_as_bytes
from ethics.demands_audit import demanded_faults
from ethics.digests import canonical_json, code_digest, environment_digest
from ethics.gate import MODEL_CHECKS
from ethics.keys import trust_bytes
from ethics.recomputation import recomputed_ids, statistics_faults
from ethics.report_page import Signature
from ethics.verdict_audit import audit_verdict
from ethics.verdict_chain import latest, read_chain
from ethics.verdict_changes import changes, with_changes
from serving.cli import main

LATER = NOW + timedelta(hours=1)


def cut_by_recall(world):
    """The world at the audit cut that its own recall asks for, as judging finds it."""
    label = world["label"][np.argsort(-world["score"], kind="stable")]
    periods = math.ceil(90 / PASSING.period_days)
    return {**world, "cuts": Cuts(60, audit_cut(label, PASSING.capacity_k, periods, POLICY.audit_recall))}


@cache
def fair_table(**changes):
    return measure(**cut_by_recall(people(**changes)), seed=7, replicates=400)


def verdict_of(table=None, previous=None, issued_at=NOW, **given):
    case = evidence(**given)
    real = {"code": code_digest(), "environment": environment_digest()}
    case = replace(case, subject={**case.subject, **real}, recorded={**case.recorded, **real})
    table = fair_table(small=0.0) if table is None else table
    before = None if previous is None else previous.payload_sha256
    named = {"demonstration": True, "previous_sha256": before}
    verdict = judge(case, table, POLICY, vouched(), issued_at=issued_at, **named)
    return with_changes(verdict, previous)


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    return key_ring(tmp_path_factory.mktemp("home") / "keys")


@pytest.fixture(scope="module")
def blocked():
    """A verdict with every kind of finding about groups, and its table."""
    table = measure(**cut_by_recall(people(n=16_000, drop_label=0.6, small=0.0008)), seed=7, replicates=200)
    return verdict_of(table), table


def signed(ring, verdict):
    return countersign(seal(verdict, ring.signer("gate")), ring.signer("auditor"))


def audited(ring, verdict, table, now=LATER, **given):
    options = {"trust": ring.trust(), "now": now, "cells": table.cells_bytes, **given}
    return audit_verdict(signed(ring, verdict), **options)


def test_the_statistics_are_computed_again_from_the_cells(ring, blocked):
    verdict, table = blocked
    assert verdict.state == "BLOCK"
    assert {"C401", "C402", "C403", "C404", "C405", "C608"} <= set(recomputed_ids(verdict))
    report = {"report.html": render_report(verdict, table.cells).encode()}
    audit = audited(ring, verdict, table, reports=report, revoked=[])
    assert audit.verified, [str(fault) for fault in audit.touched]
    assert any(line.startswith("statistics computed again from the cells: C401") for line in audit.checked)
    assert "report.html: the bytes that verdict and cells give" in audit.checked
    named = " ".join(audit.unchecked)
    assert all(id in named for id in MODEL_CHECKS if id not in recomputed_ids(verdict))
    assert {row["package"] for row in audit.versions} >= {"python", "numpy", "fairlearn"}


def test_every_check_marked_so_follows_from_the_cells_alone(blocked):
    for verdict, table in (blocked, (verdict_of(), fair_table(small=0.0))):
        assert statistics_faults(verdict, table.cells) == []


@pytest.mark.parametrize("field", ["state", "value", "low", "threshold", "group", "needs", "facts", "n_bucket"])
def test_an_edit_of_a_signed_statistic_is_named_though_both_keys_signed_it(ring, blocked, field):
    verdict, table = blocked
    at = next(i for i, check in enumerate(verdict.checks) if check.id == "C401" and check.state == "block")
    check = verdict.checks[at]
    other = {
        "state": "pass",
        "group": "language=gone",
        "needs": "AT-06",
        "facts": {"case": "pass"},
        "n_bucket": "5-9",
    }.get(field)
    other = check.value * 1.01 if field in ("value", "low", "threshold") else other
    edited = replace(
        verdict, checks=(*verdict.checks[:at], replace(check, **{field: other}), *verdict.checks[at + 1 :])
    )
    audit = audited(ring, edited, table)
    assert not audit.verified
    assert {fault.code for fault in audit.touched} == {"V26"}
    assert all(fault.where.startswith("C401 language=") for fault in audit.touched)


@pytest.mark.parametrize("name", ["seed", "replicates", "design_effect"])
def test_other_numbers_behind_the_statistics_are_noticed(ring, blocked, name):
    verdict, table = blocked
    other = {"seed": 8, "replicates": 201, "design_effect": "1.5"}[name]
    audit = audited(ring, replace(verdict, subject={**verdict.subject, name: other}), table)
    assert {fault.code for fault in audit.touched} == {"V26"}


def test_other_thresholds_scope_and_versions_are_noticed(ring, blocked):
    verdict, table = blocked
    limits = {**verdict.scope["thresholds"], "min_recall_ratio": "0.5"}
    for edited, code in (
        (replace(verdict, scope={**verdict.scope, "thresholds": limits}), "V26"),
        (replace(verdict, scope={**verdict.scope, "measured_n": 1}), "V26"),
        (replace(verdict, scope={**verdict.scope, "measured_k_audit": 5}), "V26"),
        (replace(verdict, record={**verdict.record, "fair_worlds_pass": "0.99"}), "V26"),
        (replace(verdict, record={**verdict.record, "environment": {"numpy": "0"}}), "V35"),
    ):
        assert code in {fault.code for fault in audited(ring, edited, table).touched}


def test_a_check_that_nobody_can_sign_away_is_missed_with_and_without_a_signed_policy(ring, blocked):
    verdict, table = blocked

    def without(id, **scope):
        return replace(
            verdict,
            checks=tuple(check for check in verdict.checks if check.id != id),
            required=tuple(other for other in verdict.required if other != id),
            scope={**verdict.scope, **scope},
        )

    signers = [{"role": "service_owner", "name": "One", "keyid": "1", "demonstration": True}]
    told = [{"key": "required", "value": "without C405", "template": "with C405"}]
    for id in ("C401", "C602"):  # of the core; of severity B
        row = {"key": "required", "value": f"without {id}", "template": f"with {id}"}
        audit = audited(ring, without(id, policy_signed_by=signers, looser_than_template=[row]), table)
        assert {(fault.where, fault.code) for fault in audit.touched} == {("required", "V20"), ("checks", "V20")}
        assert all(id in fault.wrong for fault in audit.touched)
    signed_away = audited(ring, without("C405", policy_signed_by=signers, looser_than_template=told), table)
    assert signed_away.verified, [str(fault) for fault in signed_away.touched]
    assert {fault.code for fault in audited(ring, without("C405"), table).touched} == {"V20", "V16"}


def test_thresholds_looser_than_the_template_must_be_told_and_signed_for(ring, blocked):
    verdict, _ = blocked
    limits = {**verdict.scope["thresholds"], "min_reason_overlap": "0.5"}
    told = [{"key": "thresholds.min_reason_overlap", "value": "0.5", "template": "0.6"}]
    signers = [{"role": "service_owner", "name": "One", "keyid": "1", "demonstration": True}]
    expected = {
        (): {"scope: looser_than_template", "scope: policy_signed_by"},
        ("told",): {"scope: policy_signed_by"},
        ("signed",): {"scope: looser_than_template"},
        ("told", "signed"): set(),
    }
    for given, places in expected.items():
        scope = {**verdict.scope, "thresholds": limits}
        scope |= {"looser_than_template": told} if "told" in given else {}
        scope |= {"policy_signed_by": signers} if "signed" in given else {}
        assert {fault.where for fault in demanded_faults(replace(verdict, scope=scope))} == places


def test_an_audit_cut_that_recall_does_not_give_is_named_though_the_cells_agree():
    world = people(n=16_000, small=0.0008)
    honest = cut_by_recall(world)["cuts"].k_audit
    for cut in (honest // 2, 7900):
        table = measure(**{**world, "cuts": Cuts(60, cut)}, seed=7, replicates=200)
        faults = statistics_faults(verdict_of(table), table.cells)
        assert [fault.where for fault in faults] == ["scope: measured_k_audit"]


def test_tables_and_counts_in_the_record_are_compared_too(ring, blocked):
    verdict, table = blocked
    for name in ("crossings", "decomposition", "exposure", "power"):
        rows = [dict(row) for row in verdict.record[name]]
        rows[0]["group"] = "another"
        audit = audited(ring, replace(verdict, record={**verdict.record, name: rows}), table)
        assert [fault.where for fault in audit.touched] == [f"record: {name}"]
    at = next(i for i, check in enumerate(verdict.checks) if check.id == "C402" and "n" in check.facts)
    check = verdict.checks[at]
    edited = replace(check, facts={**check.facts, "n": check.facts["n"] + 1})
    audit = audited(ring, replace(verdict, checks=(*verdict.checks[:at], edited, *verdict.checks[at + 1 :])), table)
    assert [fault.where.endswith(": facts") for fault in audit.touched] == [True]


def test_no_statistic_computed_again_is_said_to_be_none(ring, blocked, monkeypatch):
    verdict, table = blocked
    monkeypatch.setattr("ethics.verdict_audit.recomputed_ids", lambda verdict: [])
    audit = audited(ring, verdict, table)
    assert not any(line.startswith("statistics computed") for line in audit.checked)
    assert any("no statistic" in line for line in audit.unchecked)
    assert "the record's power" in audit.unchecked and "the record's auc" in audit.unchecked


def test_what_was_touched_is_named(ring, blocked):
    verdict, table = blocked
    other = cells_as_bytes(table.cells.with_columns(pl.col("n") + 1))
    (fault,) = audited(ring, verdict, table, cells=other).touched
    assert fault.code == "V38" and fault.where == "subject cells"
    report = {"report.html": render_report(verdict, table.cells).replace("</p>", "!</p>", 1).encode()}
    (fault,) = audited(ring, verdict, table, reports=report).touched
    assert (fault.where, fault.code) == ("report.html", "V27")
    (fault,) = audited(ring, verdict, table, revoked=[verdict.verdict_id]).touched
    assert fault.code == "V13"
    data = json.loads(signed(ring, verdict))
    payload = json.loads(base64.b64decode(data["payload"]))
    payload["scope"]["capacity_k"] = 61
    data["payload"] = base64.b64encode(canonical_json(payload)).decode()
    audit = audit_verdict(canonical_json(data), trust=ring.trust(), now=LATER, cells=table.cells_bytes)
    assert [fault.code for fault in audit.touched] == ["V16", "V02", "V02"] and audit.verdict is None
    assert [fault.code for fault in audit_verdict(b"{}", trust=ring.trust(), now=LATER).touched] == ["V01"]


def test_a_report_says_who_had_signed_when_it_was_made(ring, blocked):
    verdict, table = blocked
    keys = {role: ring.trust()[ring.signer(role).public_key.keyid] for role in ("gate", "auditor")}
    by_role = {role: Signature(role, key.name) for role, key in keys.items()}
    for signers in ([], ["gate"], ["gate", "auditor"]):
        page = render_report(verdict, table.cells, signed_by=[by_role[role] for role in signers])
        audit = audited(ring, verdict, table, reports={"report.html": page.encode()})
        assert audit.verified, [signers, *map(str, audit.touched)]
    other = [by_role["gate"], Signature("auditor", "Somebody else")]
    page = render_report(verdict, table.cells, signed_by=other).encode()
    (fault,) = audited(ring, verdict, table, reports={"report.html": page}).touched
    assert (fault.where, fault.code) == ("report.html", "V27")


def test_a_report_by_other_code_is_not_called_touched(ring, blocked):
    verdict, table = blocked
    older = replace(verdict, subject={**verdict.subject, "code": "0" * 64})
    audit = audited(ring, older, table, reports={"report.html": b"<html lang='en'>"})
    assert audit.verified
    assert "report.html (written by another version of the code than this one)" in audit.unchecked


def test_signers_and_dates_are_those_of_the_moment_it_was_issued(ring, blocked):
    verdict, table = blocked
    audit = audited(ring, verdict, table, now=NOW + timedelta(days=400))
    assert audit.verified and any("expired" in note for note in audit.notes)
    (fault,) = audited(ring, verdict, table, now=NOW - timedelta(days=1)).touched
    assert fault.code == "V08"
    gate_only = audit_verdict(
        seal(verdict, ring.signer("gate")), trust=ring.trust(), now=LATER, cells=table.cells_bytes
    )
    assert gate_only.verified and any("auditor has not signed" in note for note in gate_only.notes)
    passed = verdict_of()
    unsigned = audit_verdict(seal(passed, ring.signer("gate")), trust=ring.trust(), now=LATER)
    assert [fault.code for fault in unsigned.touched] == ["V04"]
    assert audited(ring, passed, fair_table(small=0.0), trust={}).touched[0].code == "V03"
    assert any("no file of cells" in line for line in unsigned.unchecked)


# The chain


@pytest.fixture(scope="module")
def three():
    first = verdict_of()
    second = verdict_of(previous=first, issued_at=NOW + timedelta(minutes=10), seed=8)
    third = verdict_of(previous=second, issued_at=NOW + timedelta(minutes=20), seed=9)
    return first, second, third


def chain(ring, verdicts):
    files = [(verdict.verdict_id, signed(ring, verdict)) for verdict in verdicts]
    links, faults = read_chain(files, ring.trust())
    return links, [str(fault) for fault in faults]


def test_a_whole_chain_holds_in_any_order_of_files(ring, three):
    links, faults = chain(ring, three[::-1])
    assert faults == [] and [link.where for link in links] == [verdict.verdict_id for verdict in three]
    assert latest(links).verdict.verdict_id == three[2].verdict_id


def test_a_missing_an_edited_a_forked_and_a_reordered_verdict_are_named(ring, three):
    first, second, third = three
    (fault,) = chain(ring, (first, third))[1]
    assert fault.startswith(f"verdict chain: {third.verdict_id}: names {second.payload_sha256[:12]}…")
    edited = replace(second, use="outreach")
    found = chain(ring, (first, edited, third))[1]
    assert any(fault.startswith(f"verdict chain: {third.verdict_id}: names") for fault in found)
    files = [(v.verdict_id, signed(ring, v)) for v in (first, third)] + [(second.verdict_id, signed(ring, edited))]
    assert any(f"{second.verdict_id}: is {edited.verdict_id}" in str(fault) for fault in read_chain(files)[1])
    fork = verdict_of(previous=first, issued_at=NOW + timedelta(minutes=15), seed=10)
    (fault,) = chain(ring, (*three, fork))[1]
    assert "fork: " in fault and second.verdict_id in fault and fork.verdict_id in fault
    early = replace(second, issued_at=NOW - timedelta(minutes=1))
    (fault,) = chain(ring, (first, early))[1]
    assert f"follows {first.verdict_id}, which was issued after it" in fault
    another_first = verdict_of(issued_at=NOW + timedelta(minutes=1), seed=11)
    assert any("each follow nothing" in fault for fault in chain(ring, (first, another_first))[1])


def test_neighbours_are_audited_too(ring, three):
    first, second, third = three
    table = fair_table(small=0.0)
    beside = {verdict.verdict_id: signed(ring, verdict) for verdict in (first, second)}
    assert any("3 verdicts" in line for line in audited(ring, third, table, neighbours=beside).checked)
    del beside[second.verdict_id]
    assert [fault.code for fault in audited(ring, third, table, neighbours=beside).touched] == ["V25"]
    alone = audited(ring, third, table)
    assert alone.verified and any("is not beside it" in line for line in alone.unchecked)


# What changed


def test_what_changed_since_the_last_verdict(blocked):
    before = verdict_of()
    after = replace(blocked[0], scope={**blocked[0].scope, "capacity_k": 70})
    after = replace(after, record={**after.record, "features": [{"feature": "visits", "columns": 2}]})
    rows = {(row["what"], row["name"]): (row["before"], row["after"]) for row in changes(before, after)["rows"]}
    assert rows["state", "verdict"] == ("PASS_ATTESTED", "BLOCK")
    assert rows["check", "C401 language=other"] == ("pass", "block")
    assert rows["group", "language=rare"] == ("–", "measured")
    assert rows["scope", "capacity_k"] == ("60", "70")
    assert rows["feature", "visits"] == ("–", "2 columns") and rows["feature", "absence"] == ("1 columns", "–")
    assert rows["subject", "cells"] == tuple(v.subject["cells"][:12] for v in (before, after))
    assert ("value", "C401 sex=f") in rows and ("value", "C401 language=other") not in rows
    assert changes(before, before)["rows"] == []


def test_a_need_s_first_verdict_has_nothing_to_compare(three):
    assert three[0].record["changes"] is None
    assert three[1].record["changes"]["since"] == three[0].verdict_id
    canonical_json(three[1].to_json())


# The command


@pytest.fixture
def files(blocked, tmp_path):
    """Verdict, cells, report and public keys on an auditor's machine, which has no home."""
    now, table = datetime.now(UTC).replace(microsecond=0), blocked[1]
    ring, verdict = key_ring(tmp_path / "keys", now=now), verdict_of(table, issued_at=now)
    folder = tmp_path / "handed over"
    folder.mkdir()
    (folder / "verdict.json").write_bytes(signed(ring, verdict))
    (folder / "cells.parquet").write_bytes(table.cells_bytes)
    (folder / "report.html").write_text(render_report(verdict, table.cells), "utf-8")
    (tmp_path / "trust.json").write_bytes(trust_bytes(ring.trust()))
    return folder


def command(*words, as_json=True):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([*map(str, words), *(["--json"] if as_json else [])])
    return code, json.loads(out.getvalue()) if as_json else out.getvalue()


def test_the_command_needs_no_home(files, tmp_path):
    words = ("audit", "verify", files / "verdict.json", "--trust", tmp_path / "trust.json", "--home", tmp_path / "none")
    if __import__("datetime").datetime.now(NOW.tzinfo) < NOW:
        pytest.skip("the invented verdict is issued later than today")
    code, said = command(*words)
    assert (code, said["verified"], said["errors"]) == (0, True, [])
    code, told = command(*words, as_json=False)
    assert told.startswith(f"VERIFIED: {said['verdict_id']}") and "Could not be checked" in told
    assert not (tmp_path / "none").exists()
    (files / "cells.parquet").rename(tmp_path / "elsewhere.parquet")
    assert any("no file of cells" in line for line in command(*words)[1]["unchecked"])
    assert command(*words, "--cells", tmp_path / "elsewhere.parquet")[1]["verified"]
    (files / "cells.parquet").write_bytes((tmp_path / "elsewhere.parquet").read_bytes() + b"x")
    code, said = command(*words)
    assert code == 30 and [fault["code"] for fault in said["errors"]] == ["V38"]


def test_without_public_keys_nothing_is_verified(files, tmp_path):
    shutil.copy(tmp_path / "trust.json", files / "trust.json")  # beside the verdict, where anybody could put it
    code, said = command("audit", "verify", files / "verdict.json", "--home", tmp_path / "none")
    assert code == 2 and said["errors"][0]["where"] == "--trust"
    assert command("audit", "verify", "--cells", "x")[0] == 2
