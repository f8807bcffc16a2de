"""Keys over their lives: made, rotated, revoked, and never where git would keep them."""

import hmac
import io
import json
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from datetime import timedelta

import pytest
from ethics_cases import NOW, attestation, key_ring
from sqlalchemy import text
from test_signing import faults, signed, verdict_of, verified

from ethics import BadInput, KeyRing, NotTrusted, countersign, seal, sign_attestation
from ethics.attestation import read_attestation
from ethics.keys import read_trust, trust_bytes
from serving.cli import main
from serving.home import Home
from serving.settings import Settings


def command(*words):
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(io.StringIO()):
        code = main([*map(str, words), "--json"])
    return code, json.loads(out.getvalue())


@pytest.fixture
def ring(tmp_path):
    return key_ring(tmp_path / "keys")


def test_what_a_rotated_key_signed_before_still_counts_and_what_it_signs_after_does_not(ring, tmp_path):
    envelope = signed(ring)
    old_signer = ring.signer("auditor")
    old, new = ring.rotate("auditor", days=7, now=NOW + timedelta(hours=1))
    assert ring.trust()[old].state(NOW + timedelta(hours=2)) == "retired"
    assert ring.signer("auditor").public_key.keyid == new
    # Rotating lengthens no life: the key would have ended on day 6, and what it signed ends then.
    assert ring.trust()[old].valid_to == NOW + timedelta(days=6)
    verified(envelope, ring, tmp_path, now=NOW + timedelta(hours=2))
    late = verdict_of(issued_at=NOW + timedelta(hours=3))
    forged = countersign(seal(late, ring.signer("gate")), old_signer)
    (fault,) = [
        f for f in faults(NotTrusted, forged, ring, tmp_path, now=NOW + timedelta(hours=4)) if f.startswith("key ")
    ]
    assert "was retired at" in fault and fault.endswith("[V12]")


def test_what_a_retired_key_signed_counts_for_one_verdict_life_at_most(tmp_path):
    ring = KeyRing(tmp_path / "keys")
    ring.make("gate", "The gate", demonstration=False, days=365, now=NOW)
    old, _ = ring.rotate("gate", days=365, now=NOW + timedelta(days=10))
    assert ring.trust()[old].valid_to == NOW + timedelta(days=10 + 90)


@pytest.mark.parametrize("state", ["readable by others", "damaged", "missing"])
def test_a_key_that_leaked_or_is_damaged_or_gone_is_revoked_and_replaced(ring, state):
    keyid, path = ring.signer("auditor").public_key.keyid, ring.folder / "auditor.pem"
    if state == "readable by others":
        path.chmod(0o644)
    elif state == "damaged":
        path.write_bytes(path.read_bytes()[:40])
        # While the role's key is believed, its file may yet be restored: nothing is put over it.
        with pytest.raises(NotTrusted, match="is not a private key"):
            ring.make("auditor", "Demonstration auditor", demonstration=True, days=7, now=NOW)
    else:
        path.unlink()
    assert ring.revoke(keyid, "found on a shared disk", NOW) == keyid
    assert ring.trust()[keyid].state(NOW) == "revoked"
    assert path.exists() == (state == "damaged")  # nobody can tell whose a damaged file is
    new = ring.make("auditor", "Demonstration auditor", demonstration=True, days=7, now=NOW)
    assert ring.signer("auditor").public_key.keyid == new != keyid
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_retired_key_gives_no_attestation(tmp_path):
    ring = key_ring(tmp_path / "keys", ("service_owner",))
    signer = ring.signer("service_owner")
    content = sign_attestation(attestation(), signer)
    read_attestation(content, "a", ring.trust(), NOW)
    ring.rotate("service_owner", days=7, now=NOW - timedelta(hours=2))
    with pytest.raises(NotTrusted, match=r"was retired .* \[V12\]"):
        read_attestation(content, "a", ring.trust(), NOW)


def test_nothing_that_a_revoked_key_signed_counts_and_its_private_part_is_gone(ring, tmp_path):
    envelope = signed(ring)
    keyid = ring.signer("auditor").public_key.keyid
    assert ring.revoke(keyid[:10], "lost with a laptop", NOW) == keyid
    found = faults(NotTrusted, envelope, ring, tmp_path)
    assert found[0] == (
        f"key {keyid[:12]} of Demonstration auditor: was revoked at {NOW.isoformat()} (lost with a laptop). "
        "Nothing it signed counts; have another key sign [V11]"
    )
    assert not (ring.folder / "auditor.pem").exists()
    ring.make("auditor", "Demonstration auditor", demonstration=True, days=7, now=NOW)
    assert ring.trust()[keyid].state(NOW) == "revoked"


def test_a_retired_or_revoked_private_key_that_was_put_back_does_not_sign(ring):
    kept = (ring.folder / "auditor.pem").read_bytes()
    old, _ = ring.rotate("auditor", days=7, now=NOW)
    (ring.folder / "auditor.pem").write_bytes(kept)
    with pytest.raises(NotTrusted, match=r"was retired at"):
        ring.signer("auditor")
    ring.revoke(old, "put back", NOW)
    assert not (ring.folder / "auditor.pem").exists()


def test_an_expired_key_is_not_rotated_back_to_life(ring):
    with pytest.raises(BadInput, match="is no key in date, so there is nothing to rotate"):
        ring.rotate("auditor", days=7, now=NOW + timedelta(days=6))


def test_every_fault_of_a_revocation_at_once(ring):
    with pytest.raises(BadInput) as refusal:
        ring.revoke("zz", " ", NOW)
    assert [fault.where for fault in refusal.value.faults] == ["--key", "--reason"]
    keyid = ring.signer("gate").public_key.keyid
    ring.revoke(keyid, "lost", NOW)
    with pytest.raises(BadInput, match="was revoked already"):
        ring.revoke(keyid, "lost", NOW)


def test_keys_are_not_made_where_git_would_keep_them(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    ring = KeyRing(tmp_path / "home" / "keys")
    with pytest.raises(BadInput, match=r"which does not ignore it\. Add it to .gitignore"):
        ring.make("gate", "The gate", demonstration=False, days=30)
    assert not ring.folder.exists()
    (tmp_path / ".gitignore").write_text("home/\n")
    ring.make("gate", "The gate", demonstration=False, days=30)
    assert (ring.folder / "gate.pem").stat().st_mode & 0o777 == 0o600


def test_the_trust_that_is_exported_holds_nothing_private_and_is_read_back(ring, tmp_path):
    ring.revoke(ring.signer("gate").public_key.keyid, "lost", NOW)
    content = trust_bytes(ring.trust())
    assert b"PRIVATE" not in content
    (tmp_path / "trust.json").write_bytes(content)
    assert read_trust(tmp_path / "trust.json") == ring.trust()


def test_the_commands_of_keys(tmp_path):
    home = tmp_path / "home"
    assert command("keys", "--home", home) == (0, {"keys": []})
    code, made = command("keys", "make", "--role", "gate", "--name", "The gate", "--days", 30, "--home", home)
    assert (code, made["state"], made["demonstration"]) == (0, "in date", False)
    code, said = command("keys", "make", "--role", "gate", "--name", "The gate", "--home", home)
    assert code == 2 and said["errors"][0]["wrong"] == "exists and is in date"
    code, rotated = command("keys", "rotate", "--role", "gate", "--home", home)
    assert (code, rotated["retired"]) == (0, made["keyid"])
    code, revoked = command(
        "keys", "revoke", "--key", made["keyid"][:12], "--reason", "found on a disk", "--home", home
    )
    assert (code, revoked["state"]) == (0, "revoked")
    listed = command("keys", "list", "--home", home)[1]["keys"]
    assert [(key["role"], key["state"]) for key in listed] == [("gate", "in date"), ("gate", "revoked")]
    assert command("keys", "export", "--to", tmp_path / "trust.json", "--home", home)[1]["keys"] == 2
    assert command("keys", "export", "--to", tmp_path / "trust.json", "--home", home)[0] == 2
    acts = [row["action"] for row in command("audit", "log", "--home", home)[1]["rows"]]
    assert acts == ["keys make", "keys rotate", "keys revoke"]


def test_the_access_log_tells_who_looked_at_a_person_and_prints_nobody(tmp_path):
    home = Home(Settings(home=tmp_path / "home"))
    secret = home.settings.secret("audit-persons")
    hashed = {name: hmac.digest(secret, name.encode(), "sha256").hex() for name in ("000123", "000456")}
    for name, need in (("000123", "youth"), ("000456", "youth"), ("000123", "health")):
        home.audit_log.append("explain", "data scientist", need=need, person=hashed[name], purpose="resident")
    home.audit_log.append("train", "data scientist", need="youth")

    def numbers(*words):
        code, said = command("audit", "log", *words, "--home", home.root)
        assert code == 0 and not set(hashed.values()) & set(json.dumps(said).replace('"', " ").split())
        return [row["number"] for row in said["rows"]]

    assert numbers() == [1, 2, 3, 4]
    assert numbers("--need", "youth") == [1, 2, 4]
    assert numbers("--person", "000123") == numbers("--person", hashed["000123"]) == [1, 3]
    assert numbers("--person", "000123", "--need", "health") == [3]
    assert numbers("--person", "nobody") == numbers("--since", "2999-01-01") == []
    with home.engine.begin() as connection:
        connection.execute(text("update audit_log set actor = 'nobody' where number = 2"))
    code, said = command("audit", "log", "--home", home.root)
    (fault,) = said["errors"]
    assert (code, fault["where"], fault["wrong"]) == (30, "audit log main, row 2", "was changed after it was written")
