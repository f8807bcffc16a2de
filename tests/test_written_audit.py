"""Files written from a verdict that somebody edited afterwards: each is named, and none is passed over in silence."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from ethics_cases import key_ring, register
from test_verdict_audit import fair_table as cut_table
from test_verdict_audit import signed, verdict_of

from ethics.keys import trust_bytes
from ethics.report_page import Signature
from ethics.verdict_audit import audit_verdict
from ethics.written_audit import compare_written
from serving.audit_work import audit_files
from serving.report_work import write_everything

SIGNERS = [Signature("gate", "The gate"), Signature("auditor", "The auditor")]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A verdict and everything that is made from it, as signed by the gate alone."""
    table, folder = cut_table(small=0.0), tmp_path_factory.mktemp("written")
    verdict = verdict_of(table, issued_at=datetime.now(UTC).replace(microsecond=0), register=register())
    files = write_everything(verdict, table.cells, folder, signed_by=SIGNERS[:1])
    return verdict, table, {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_untouched_every_file_is_checked_whoever_has_signed_since(written):
    verdict, table, files = written
    found = compare_written(verdict, table.cells, {**files, "report.html": files["report.fi.html"]}, SIGNERS)
    assert (found.touched, found.unchecked) == ([], [])
    assert {line.partition(":")[0] for line in found.checked} == {*files, "report.html"}
    assert {"public.sv.html", "report.json", "report.csv", "register/fria.fi.html"} <= set(files)


def test_every_file_that_was_edited_is_named(written):
    verdict, table, files = written
    forged = {name: content + b" " for name, content in files.items()}
    found = compare_written(verdict, table.cells, forged, SIGNERS)
    assert {fault.where for fault in found.touched} == set(files)
    assert {fault.code for fault in found.touched} == {"V27"}
    assert (found.checked, found.unchecked) == ([], [])


def test_one_language_is_not_another(written):
    verdict, table, files = written
    swapped = {"public.fi.html": files["public.en.html"], "report.json": files["report.csv"]}
    assert {fault.where for fault in compare_written(verdict, table.cells, swapped, ()).touched} == set(swapped)


def test_what_cannot_be_compared_is_named_as_not_looked_at(written):
    verdict, table, files = written
    strange = compare_written(verdict, table.cells, {"report.pdf": b"x", "register/notes.txt": b"y"}, ())
    assert strange.checked == strange.touched == [] and len(strange.unchecked) == 2
    assert all("not looked at" in line for line in strange.unchecked)
    blind = compare_written(verdict, False, files, SIGNERS)
    assert blind.touched == [] and len(blind.checked) + len(blind.unchecked) == len(files)
    assert all(line.startswith("register/") for line in blind.checked)
    older = replace(verdict, subject={**verdict.subject, "code": "0" * 64})
    assert compare_written(older, table.cells, {"public.fi.html": b"x"}, ()).touched == []


def test_the_command_does_not_verify_over_a_forged_page(written, tmp_path):
    verdict, table, _ = written
    ring = key_ring(tmp_path / "keys", now=verdict.issued_at)
    envelope = signed(ring, verdict)
    (tmp_path / "verdict.json").write_bytes(envelope)
    (tmp_path / "cells.parquet").write_bytes(table.cells_bytes)
    (tmp_path / "trust.json").write_bytes(trust_bytes(ring.trust()))
    (tmp_path / "register").mkdir()
    (tmp_path / "public.fi.html").write_text("Everything is fair.", "utf-8")
    (tmp_path / "register" / "fria.sv.html").write_text("Everything is fair.", "utf-8")
    found = audit_files(
        tmp_path / "verdict.json", trust=tmp_path / "trust.json", cells=None, home=None, now=datetime.now(UTC)
    )
    assert not found.verified
    assert {fault.where for fault in found.touched} == {"public.fi.html", "register/fria.sv.html"}
    assert audit_verdict(envelope, trust=ring.trust(), now=datetime.now(UTC), cells=table.cells_bytes).verified
