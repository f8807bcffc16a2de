"""The home's own issuer: short tokens by one key that only its owner can read."""

import json
import stat
from datetime import UTC, datetime

import jwt
import pytest
from openid_provider import raw_token

from ethics.refusals import BadInput, NotTrusted
from serving.cli import main
from serving.home import Home
from serving.identity import Identity, Role
from serving.issuer_keys import IssuerSilent
from serving.local_issuer import issue_token, issuer_path, make_issuer
from serving.settings import Settings
from serving.tokens import Issuers, TokenRefused, open_issuers

NOW = datetime.now(UTC)


@pytest.fixture
def home(tmp_path):
    return Home(Settings(home=tmp_path / "home"))


def made(home, role="unit", *, now=None, minutes=15, **more):
    given = {"needs": ["youth_exclusion"], "units": ["kallio"]} if role == "unit" else {}
    given |= {"subject": f"a {role}"} if role in ("unit", "system", "service_point") else {}
    return issue_token(home, role, minutes=minutes, now=now or datetime.now(UTC), **(given | more))["token"]


def last_act(home):
    row = home.audit_log.rows()[-1]
    return row["action"], json.loads(row["facts"])


def test_a_token_of_the_home_counts_in_the_home_and_nowhere_else(home, tmp_path):
    other = Home(Settings(home=tmp_path / "other"))
    for each in (home, other):
        make_issuer(each, NOW)
    identity = open_issuers(home).verified(made(home))
    assert (identity.role, identity.needs, identity.units) == (Role.UNIT, {"youth_exclusion"}, {"kallio"})
    with pytest.raises(TokenRefused, match="by no issuer that is trusted here"):
        open_issuers(other).verified(made(home))


@pytest.mark.parametrize(
    ("role", "given"),
    [
        ("unit", {"needs": ["a", "b"], "units": ["u", "v"]}),
        ("system", {"needs": ["*"]}),
        ("system", {"needs": ["a"]}),
        ("auditor", {}),
        ("auditor", {"needs": ["a"]}),
        ("data_scientist", {}),
        ("service_point", {}),
        ("resident", {"person_id": "000123"}),
    ],
)
def test_a_token_says_what_was_asked_for(role, given, home):
    make_issuer(home, NOW)
    identity = open_issuers(home).verified(made(home, role, **given))
    assert identity.role == role
    assert sorted(identity.needs) == sorted(given.get("needs", []))
    assert sorted(identity.units) == sorted(given.get("units", []))
    assert identity.person_id == given.get("person_id")


@pytest.mark.parametrize(
    ("role", "given", "wrong"),
    [
        ("mayor", {}, ["--role: is 'mayor'"]),
        ("unit", {"needs": [], "units": []}, ["--need: is missing", "--unit: is missing"]),
        ("unit", {"needs": ["*"]}, ["--need: is '*', which is for systems"]),
        ("unit", {"person_id": "000123"}, ["--person: means nothing to a unit"]),
        ("system", {}, ["--need: is missing"]),
        ("system", {"needs": ["a"], "units": ["u"]}, ["--unit: means nothing to a system"]),
        ("resident", {}, ["--person: is missing"]),
        ("resident", {"person_id": "1", "needs": ["a"], "units": ["u"]}, ["--unit: means", "--need: means"]),
        ("auditor", {"minutes": 481}, ["--minutes: is 481"]),
        ("auditor", {"minutes": 0}, ["--minutes: is 0"]),
        ("auditor", {"subject": " "}, ["--for: is empty or longer than 200 characters"]),
        ("unit", {"units": ["u" * 201], "needs": [""]}, ["--need: is empty or", "--unit: is empty or"]),
    ],
)
def test_words_that_do_not_fit_the_role_are_all_told(role, given, wrong, home):
    make_issuer(home, NOW)
    with pytest.raises(BadInput) as refusal:
        made(home, role, **given)
    assert len(refusal.value.faults) == len(wrong)
    for fault, expected in zip(refusal.value.faults, wrong, strict=True):
        assert str(fault).startswith(expected)


def test_the_key_is_its_owners_alone_and_one_that_is_not_is_not_used(home):
    make_issuer(home, NOW)
    path = issuer_path(home)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    token = made(home)
    issuers = open_issuers(home)
    issuers.verified(token)
    assert issuers.known(token) is not None
    path.chmod(0o640)
    with pytest.raises(NotTrusted, match="can be read by others than its owner"):
        made(home)
    with pytest.raises(NotTrusted, match="can be read by others than its owner"):
        open_issuers(home)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"nothing", b'{"issuer": 1}'])
def test_a_damaged_issuer_is_told_and_replaced_by_anew(content, home):
    make_issuer(home, NOW)
    token, issuers = made(home), open_issuers(home)
    assert issuers.verified(token).role is Role.UNIT
    issuer_path(home).write_bytes(content)
    assert issuers.known(token) is None
    with pytest.raises(IssuerSilent, match="token issuer: is damaged"):
        issuers.verified(token)
    with pytest.raises(NotTrusted, match="is damaged"):
        made(home)
    make_issuer(home, NOW, anew=True)
    assert open_issuers(home).verified(made(home)).role is Role.UNIT


def test_a_private_key_of_another_kind_is_no_issuer(home):
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from openid_provider import RSA_KEY

    make_issuer(home, NOW)
    kept = json.loads(issuer_path(home).read_bytes())
    kept["private"] = RSA_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    issuer_path(home).write_text(json.dumps(kept))
    with pytest.raises(NotTrusted, match="is damaged"):
        made(home)


def test_a_new_key_ends_every_token_at_once_in_a_running_service(home):
    make_issuer(home, NOW)
    issuers, old = open_issuers(home), made(home)
    issuers.verified(old)
    assert issuers.known(old) is not None
    make_issuer(home, NOW, anew=True)
    assert issuers.known(old) is None
    with pytest.raises(TokenRefused, match="a key that its issuer does not publish"):
        issuers.verified(old)
    new = made(home)
    assert issuers.verified(new).role is Role.UNIT
    assert jwt.decode(new, options={"verify_signature": False})["iss"] == issuers.trusted[0].issuer


def test_there_is_one_issuer_unless_it_is_made_anew(home):
    with pytest.raises(BadInput, match="finds no issuer in this home"):
        make_issuer(home, NOW, anew=True)
    with pytest.raises(NotTrusted, match="is not there in this home"):
        made(home)
    make_issuer(home, NOW)
    with pytest.raises(BadInput, match="is there already"):
        make_issuer(home, NOW)


def test_a_demonstration_counts_on_this_machine_only(home, tmp_path):
    make_issuer(home, NOW, demonstration=True)
    token = made(home)
    assert open_issuers(home).verified(token).role is Role.UNIT
    reachable = Home(home.settings.model_copy(update={"host": "0.0.0.0"}))
    with pytest.raises(NotTrusted, match="is a demonstration, and others than this machine can reach the server"):
        open_issuers(reachable)
    # Nor does one slip in behind the back of a server that runs.
    make_issuer(home, NOW, anew=True)
    issuers = open_issuers(reachable)
    assert issuers.verified(made(home)).role is Role.UNIT
    make_issuer(home, NOW, anew=True, demonstration=True)
    with pytest.raises(IssuerSilent, match="is a demonstration"):
        issuers.verified(made(home))


def test_tokens_end_when_they_say(home):
    make_issuer(home, NOW)
    token = made(home, now=NOW)
    begins = int(NOW.timestamp())

    def at(seconds):
        return Issuers(open_issuers(home).trusted, clock=lambda: begins + seconds).verified(token)

    for seconds in (-60, 0, 15 * 60, 15 * 60 + 59):  # a minute's grace for clocks
        assert at(seconds).role is Role.UNIT
    with pytest.raises(TokenRefused, match="is not valid yet"):
        at(-61)
    with pytest.raises(TokenRefused, match="has expired"):
        at(15 * 60 + 60)


def test_nobody_else_signs_for_the_home(home):
    make_issuer(home, NOW)
    issuers, token = open_issuers(home), made(home)
    kept = json.loads(issuer_path(home).read_bytes())
    claims = jwt.decode(token, options={"verify_signature": False}) | {"role": "system", "needs": ["*"]}
    for header in ({"alg": "none"}, {"alg": "HS256", "kid": kept["kid"]}, {"alg": "EdDSA", "kid": kept["kid"]}):
        with pytest.raises(TokenRefused):
            issuers.verified(raw_token(header, claims, kept["kid"].encode()))


def test_the_log_learns_for_what_and_for_whom_but_no_token(home):
    make_issuer(home, NOW)
    assert last_act(home)[0] == "keys issuer"
    ref = home.store.refer(["000123"])["000123"]
    token = made(home, "resident", person_id="000123", subject="Anna at the desk")
    act, facts = last_act(home)
    assert (act, facts["role"], facts["minutes"], facts["person"]) == ("token", "resident", 15, ref)
    written = json.dumps([row["facts"] for row in home.audit_log.rows()])
    for never in (
        token,
        token.rpartition(".")[2],
        "000123",
        "Anna",
        json.loads(issuer_path(home).read_bytes())["private"],
    ):
        assert never not in written
    # The same subject is the same in the log, and another is another.
    made(home, subject="Anna at the desk")
    assert last_act(home)[1]["who"] == facts["who"]
    made(home, subject="Ben at the desk")
    assert last_act(home)[1]["who"] != facts["who"]


def test_each_asker_is_one_of_their_own(home):
    """Rate, jobs and logs tell askers apart by the subject: a role's name would be one for all of them."""
    make_issuer(home, NOW)
    for role, given in (
        ("unit", {"needs": ["a"], "units": ["u"]}),
        ("system", {"needs": ["a"]}),
        ("service_point", {}),
    ):
        with pytest.raises(BadInput, match="--for: is missing"):
            issue_token(home, role, minutes=5, now=NOW, **given)

    def subject(person):
        token = made(home, "resident", person_id=person)
        return jwt.decode(token, options={"verify_signature": False})["sub"]

    home.store.refer(["000123"])
    subjects = [subject(person) for person in ("000123", "000124", "000123")]
    assert subjects[0] == subjects[2] != subjects[1]
    assert not any(person in told for told in subjects for person in ("000123", "000124"))
    home.store.erase("000123")
    assert subject("000123") != subjects[0]  # nor can anybody form it again


def test_a_job_is_of_the_same_asker_with_the_same_rights():
    def whose(**claims):
        who = {"subject": "s", "issuer": "i", "role": Role.SYSTEM, "needs": frozenset({"a"}), "units": frozenset()}
        return Identity(**(who | claims)).mark_of_rights(b"secret")

    others = [{"subject": "t"}, {"issuer": "j"}, {"role": Role.UNIT}, {"needs": frozenset({"b"})}]
    others += [{"units": frozenset({"u"})}, {"needs": frozenset({"a", "b"})}, {"needs": frozenset()}]
    found = [whose(**claims) for claims in others]
    assert len({whose(), *found}) == 1 + len(others) and whose() == whose() and len(whose()) == 64


def test_the_commands(tmp_path, capsys):
    words = ["--home", str(tmp_path / "home")]
    assert main(["token", "--role", "auditor", *words]) == 30
    assert "Make one: ennakko keys issuer" in capsys.readouterr().err
    assert main(["keys", "issuer", *words]) == 0
    assert "urn:ennakko:" in capsys.readouterr().out
    unit = ["token", "--role", "unit", "--need", "a", "--unit", "u"]
    assert main([*unit, "--minutes", "5", *words]) == 2
    assert "--for: is missing" in capsys.readouterr().err
    assert main([*unit, "--for", "A12", "--minutes", "5", *words]) == 0
    out, err = capsys.readouterr()
    home = Home(Settings(home=tmp_path / "home"))
    assert open_issuers(home).verified(out.strip()).units == {"u"}
    assert err.startswith("unit, until ")
    assert main(["token", "--role", "unit", "--json", *words]) == 2
    assert len(json.loads(capsys.readouterr().out)["errors"]) == 3
    assert main(["keys", "issuer", "--anew", "--demonstration", "--json", *words]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["anew"], told["demonstration"]) == (True, True)
    assert "private" not in told and "PRIVATE" not in json.dumps(told)


def test_a_home_that_git_keeps_gets_no_issuer(tmp_path):
    import subprocess

    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    home = Home(Settings(home=tmp_path / "home"))
    with pytest.raises(BadInput, match="lies in the git repository"):
        make_issuer(home, NOW)
    assert not issuer_path(home).exists()
