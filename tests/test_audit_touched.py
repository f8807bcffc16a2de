"""Any edit of what an auditor was handed is named: of verdict, cells, public keys, policy and statements."""

import base64
import copy
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from ethics_cases import POLICY, key_ring, people, vouched, vouching
from test_verdict_audit import cut_by_recall, signed, verdict_of

from ethics import measure
from ethics.attestation import sign_attestation
from ethics.cells import cells_as_bytes
from ethics.digests import canonical_json
from ethics.keys import trust_bytes
from ethics.refusal_ids import SUBJECT
from ethics.verdict_audit import audit_verdict
from serving.audit_work import audit_files

NOW = datetime.now(UTC).replace(microsecond=0)
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def handed(tmp_path_factory):
    """A folder with verdict, cells, public keys, policy and statements, and what they were made from."""
    folder = tmp_path_factory.mktemp("handed over")
    ring = key_ring(folder / "keys", now=NOW)
    table = measure(**cut_by_recall(people(n=16_000, drop_label=0.6, small=0.0008)), seed=7, replicates=200)
    verdict = verdict_of(
        table,
        issued_at=NOW,
    )
    shutil.rmtree(folder / "keys" / "private", ignore_errors=True)
    (folder / "verdict.json").write_bytes(signed(ring, verdict))
    (folder / "cells.parquet").write_bytes(table.cells_bytes)
    (folder / "trust.json").write_bytes(trust_bytes(ring.trust()))
    (folder / "policy.toml").write_bytes(POLICY.bytes)
    (folder / "attestations").mkdir()
    for given in vouched():
        statement = given.attestation
        signers = [vouching().signer(role) for role in POLICY.attestations[statement.id].roles]
        content = sign_attestation(statement, *signers)
        (folder / "attestations" / f"{statement.id}-{statement.check}-{given.sha256[:8]}.json").write_bytes(content)
    return folder, verdict, table


@pytest.fixture
def files(handed, tmp_path):
    shutil.copytree(handed[0], tmp_path / "files", ignore=shutil.ignore_patterns("keys"))
    return tmp_path / "files"


def audit(folder, trust="trust.json"):
    return audit_files(folder / "verdict.json", trust=folder / trust, cells=None, home=None, now=datetime.now(UTC))


def test_untouched_it_verifies_and_says_what_was_checked(files):
    found = audit(files)
    assert found.verified, [str(fault) for fault in found.touched]
    checked = " ".join(found.checked)
    assert all(word in checked for word in ("policy", "statements", "attestation AT-02", "attestation AT-04", "cells"))
    assert not any("no such file" in line or "no policy" in line for line in found.unchecked)
    assert any("C105" in line for line in found.unchecked)
    shutil.rmtree(files / "attestations")
    (files / "policy.toml").unlink()
    found = audit(files)
    assert found.verified
    assert any("attestation AT-02 for C502" in line for line in found.unchecked)
    assert any("no policy file" in line for line in found.unchecked)


# The verdict


def leaves(value, path=()):
    """Every place in a JSON value where a value stands that holds no other; empty tables and lists among them."""
    if isinstance(value, dict | list) and value:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, key))
    else:
        yield path


def kinds_of(paths):
    """One path for each kind: the same but for its place in a list."""
    found = {}
    for path in paths:
        found.setdefault(tuple("*" if isinstance(key, int) else key for key in path), path)
    return list(found.values())


def other(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return value + "1" if value else "x"
    return "something" if not value else None


def edits(payload, path):
    """The payload with one leaf changed, taken away, and with another beside it."""
    for kind in ("changed", "taken away", "added"):
        edited = copy.deepcopy(payload)
        place = edited
        for key in path[:-1]:
            place = place[key]
        if kind == "changed":
            place[path[-1]] = other(place[path[-1]])
        elif kind == "taken away":
            del place[path[-1]]
        elif isinstance(place, dict):
            place["one more"] = "x"
        else:
            place.append("x")
        yield kind, edited


def named_as(payload, path):
    """How the place of an edit is told."""
    head = path[0]
    if head == "parts":
        return "" if len(path) == 1 else path[1]
    if head == "checks":
        check = payload["checks"][path[1]]
        return f"checks: {check['id']}" + (f" {check['group']}" if check["group"] else "")
    opened = head in ("subject", "scope", "purpose", "record", "coverage") and len(path) > 1
    return f"{head}: {path[1]}" if opened else str(head)


def with_payload(envelope, payload):
    data = json.loads(envelope)
    data["payload"] = base64.b64encode(json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()).decode()
    return canonical_json(data)


def each_edit_is_named(handed, chosen):
    folder, _, table = handed
    envelope = (folder / "verdict.json").read_bytes()
    trust = read_keys(folder)
    payload = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
    paths = chosen(list(leaves(payload)))
    for path in paths:
        for kind, edited in edits(payload, path):
            found = audit_verdict(with_payload(envelope, edited), trust=trust, now=NOW, cells=table.cells_bytes)
            assert not found.verified, (path, kind)
            told = [fault.where for fault in found.touched]
            if kind == "added" and len(path) < 3:
                assert any(place.endswith("one more") for place in told), (path, told)
            else:
                where = named_as(payload, path)
                assert any(place.removeprefix("verdict: ").startswith(where) for place in told), (path, kind, told)
            codes = {fault.code for fault in found.touched}
            assert "V02" in codes and codes & {"V16", *SUBJECT.values()}, (path, kind)
            if path[0] == "subject" and kind != "added":
                assert SUBJECT[path[1]] in codes
    return len(paths)


def read_keys(folder):
    from ethics.keys import read_trust

    return read_trust(folder / "trust.json")


def test_an_edit_of_a_leaf_of_the_verdict_is_named(handed):
    assert each_edit_is_named(handed, lambda paths: list(kinds_of(paths))[::5]) > 50


@pytest.mark.full
def test_an_edit_of_every_kind_of_leaf_of_the_verdict_is_named(handed):
    assert each_edit_is_named(handed, kinds_of) > 250


def test_rows_of_checks_and_statements_that_move_go_or_come_are_named(handed):
    folder, _, table = handed
    envelope, trust = (folder / "verdict.json").read_bytes(), read_keys(folder)
    payload = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
    for name in ("checks", "attestations"):
        rows = payload[name]
        for edited in (rows[1:], [*rows, rows[0]], [rows[1], rows[0], *rows[2:]], []):
            envelope_now = with_payload(envelope, {**payload, name: edited})
            told = audit_verdict(envelope_now, trust=trust, now=NOW, cells=table.cells_bytes).touched
            assert any(fault.where.startswith(f"verdict: {name}") for fault in told)


@pytest.mark.parametrize("text", [b" ", b"\n"])
def test_a_verdict_written_otherwise_is_named(handed, text):
    folder = handed[0]
    envelope = (folder / "verdict.json").read_bytes()
    data = json.loads(envelope)
    data["payload"] = base64.b64encode(base64.b64decode(data["payload"]) + text).decode()
    found = audit_verdict(canonical_json(data), trust=read_keys(folder), now=NOW)
    assert {fault.code for fault in found.touched} == {"V02", "V16"}
    assert any("canonical" in fault.wrong for fault in found.touched)


# The cells


def as_text(value):
    return value + "x" if isinstance(value, str) else (value or 0) + 1


CELL_EDITS = {
    "dropped row": lambda cells: cells[1:],
    "added row": lambda cells: pl.concat([cells, cells[:1]]),
    "reordered": lambda cells: cells.reverse(),
    "no rows": lambda cells: cells[:0],
    "another column": lambda cells: cells.with_columns(more=1),
    "a column less": lambda cells: cells.drop("n"),
    "a bin without end": lambda cells: cells.with_columns(bin=pl.col("bin").cast(pl.Int64) * 10**12),
}


def one_value(column):
    def edit(cells):
        values = cells[column].to_list()
        at = next(place for place, value in enumerate(values) if value is not None)
        values[at] = as_text(values[at])
        return cells.with_columns(pl.Series(column, values, dtype=cells.schema[column]))

    return edit


COLUMNS = (
    *("attribute", "group", "bin", "label", "indicator:psychiatric care", "indicator:child welfare"),
    *("n", "sum_probability", "sum_rank", "sum_discount", "design_effect"),
)


@pytest.mark.parametrize("what", [*CELL_EDITS, *COLUMNS])
def test_an_edit_of_the_cells_is_named(handed, files, what):
    table = handed[2]
    assert set(table.cells.columns) == set(COLUMNS)
    edit = CELL_EDITS.get(what) or one_value(what)
    (files / "cells.parquet").write_bytes(cells_as_bytes(edit(table.cells)))
    found = audit(files)
    assert [(fault.where, fault.code) for fault in found.touched] == [("subject cells", "V38")]
    (told,) = [note for note in found.notes if "cells given" in note]
    expected = {
        "reordered": "Other numbers than those signed",
        "another column": "too many: more",
        "a column less": "lack these columns, or hold them too many: n.",
        "n": "Other numbers than those signed follow from the cells given: ",
        "dropped row": "Other numbers than those signed",
    }
    assert expected.get(what, "") in told


@pytest.mark.parametrize("content", [b"", b"x", b"PAR1"])
def test_cells_that_are_no_cells_are_named(files, content):
    (files / "cells.parquet").write_bytes(content)
    found = audit(files)
    assert [fault.code for fault in found.touched] == ["V38"]
    assert any("cannot be read as cells" in note for note in found.notes)


# The public keys


def edited_keys(files, change):
    keys = json.loads((files / "trust.json").read_bytes())
    (files / "trust.json").write_text(json.dumps(change(keys)))
    return audit(files)


def test_an_edit_of_the_public_keys_is_named(files):
    whole = (files / "trust.json").read_bytes()
    keys = json.loads(whole)
    of = {role: next(id for id, key in keys.items() if key["role"] == role) for role in ("gate", "auditor", "dpo")}

    def without(role):
        return lambda keys: {id: key for id, key in keys.items() if id != of[role]}

    def with_(whose, **changes):
        return lambda keys: {**keys, of[whose]: {**keys[of[whose]], **changes}}

    for change, codes in (
        (without("gate"), {"V03", "V04"}),
        (without("auditor"), {"V03"}),
        (without("dpo"), {"V30"}),
        (with_("gate", role="dpo"), {"V04"}),
        (with_("auditor", name=keys[of["gate"]]["name"]), {"V06"}),
        (with_("gate", valid_to="2020-01-01T00:00:00Z", valid_from="2019-01-01T00:00:00Z"), {"V04", "V09"}),
        (with_("dpo", revoked_at="2026-01-01T00:00:00Z", revoked_because="lost"), {"V30"}),
    ):
        (files / "trust.json").write_bytes(whole)
        found = edited_keys(files, change)
        assert codes <= {fault.code for fault in found.touched}, (codes, [str(fault) for fault in found.touched])
    (files / "trust.json").write_bytes(whole)
    swapped = {of["gate"]: keys[of["auditor"]], of["auditor"]: keys[of["gate"]]}
    from ethics.refusals import NotTrusted

    with pytest.raises(NotTrusted, match="is not the id of its key"):
        edited_keys(files, lambda keys: {**keys, **swapped})


# The policy and the statements


@pytest.mark.parametrize(
    "edit", [lambda text: text + b" ", lambda text: text.replace(b"0.8", b"0.9", 1), lambda _: b""]
)
def test_an_edit_of_the_policy_is_named(files, edit):
    path = files / "policy.toml"
    path.write_bytes(edit(path.read_bytes()))
    assert [(fault.where, fault.code) for fault in audit(files).touched] == [("policy", "V33")]


def test_a_policy_whose_envelope_was_edited_is_named(files):
    (files / "policy.toml").unlink()
    for content in (b"{}", b'{"payload":"","payloadType":"x","signatures":[]}'):
        (files / "policy.json").write_bytes(content)
        assert [(fault.where, fault.code) for fault in audit(files).touched] == [("policy", "V01")]


def test_an_edit_of_a_statement_is_named(files):
    for path in sorted((files / "attestations").glob("*.json")):
        whole = path.read_bytes()
        data = json.loads(whole)
        payload = json.loads(base64.b64decode(data["payload"]))
        payload["reasons"] = "Quite other reasons than those that were given."
        data["payload"] = base64.b64encode(canonical_json(payload)).decode()
        for content, code in ((canonical_json(data), "V02"), (whole[:-1], "V01"), (whole + b" ", "V01")):
            path.write_bytes(content)
            found = audit(files)
            assert {fault.where for fault in found.touched} == {path.name}
            assert {fault.code for fault in found.touched} == {code, "V43"}
        path.write_bytes(whole)
    assert audit(files).verified


# Another machine


ELSEWHERE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"mlflow", "lightgbm", "bentoml"}:
            raise ImportError(name + " is not installed on this machine")
sys.meta_path.insert(0, Blocked())
from serving.cli import main
sys.exit(main(sys.argv[1:]))
"""


def elsewhere(folder, tmp_path, *words):
    place = tmp_path / "another home"
    place.mkdir(exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(place), "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
    asked = ("audit", "verify", folder / "verdict.json", "--trust", folder / "trust.json", *words)
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *map(str, asked)], cwd=place, env=environment, capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr
    assert not list(place.iterdir())  # no home is made
    return done.returncode, done.stdout


def test_it_verifies_on_another_machine_from_verdict_cells_and_public_keys_alone(files, tmp_path):
    shutil.rmtree(files / "attestations")
    (files / "policy.toml").unlink()
    code, said = elsewhere(files, tmp_path)
    assert code == 0 and re.match(r"VERIFIED: v-[0-9a-f]{20} \(youth_exclusion\), BLOCK", said)
    assert "Could not be checked from these files:" in said and "statistics computed again from the cells: C401" in said
    path = files / "verdict.json"
    data = json.loads(path.read_bytes())
    payload = json.loads(base64.b64decode(data["payload"]))
    payload["record"]["owner"]["name"] = "Somebody else"
    path.write_bytes(with_payload(path.read_bytes(), payload))
    code, said = elsewhere(files, tmp_path)
    assert code == 30 and said.startswith("NOT VERIFIED") and "touched: verdict: record: owner: was changed" in said
