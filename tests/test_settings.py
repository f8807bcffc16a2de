"""Settings: the environment is read once, and wrong values are told by the names people gave them."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from ethics.refusals import BadInput, NotTrusted
from serving.settings import Settings, shows_tracebacks


def test_everything_has_a_default_and_stays_on_this_machine(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_environment({})
    assert settings.home == tmp_path / "var"
    assert settings.database == f"sqlite:///{tmp_path}/var/ennakko.db"
    assert settings.mlflow == f"sqlite:///{tmp_path}/var/mlflow.db"
    assert (settings.host, settings.port, settings.on_loopback) == ("127.0.0.1", 3000, True)
    assert (settings.city, settings.needs, settings.policy) == (None, (), None)


def test_the_environment_is_read_and_what_is_given_wins():
    environment = {
        "ENNAKKO_HOME": "/srv/ennakko",
        "ENNAKKO_DATABASE_URL": "postgresql://db/ennakko",
        "ENNAKKO_MLFLOW_URI": "http://mlflow",
        "ENNAKKO_HOST": "localhost",
        "ENNAKKO_PORT": "8080",
        "ENNAKKO_CITY": "/srv/city",
        "ENNAKKO_NEEDS": "youth, health,",
        "ENNAKKO_POLICY": "",
        "OTHER": "x",
    }
    settings = Settings.from_environment(environment, port=9090, home=None)
    assert settings.home == Path("/srv/ennakko")
    assert (settings.database, settings.mlflow) == ("postgresql://db/ennakko", "http://mlflow")
    assert (settings.host, settings.port, settings.needs) == ("127.0.0.1", 9090, ("youth", "health"))
    assert (settings.city, settings.policy) == (Path("/srv/city"), None)


def test_every_wrong_value_is_told_at_once_by_its_own_name():
    with pytest.raises(BadInput) as refusal:
        Settings.from_environment({"ENNAKKO_HOST": "example.com", "ENNAKKO_PORT": "70000"})
    assert [str(fault) for fault in refusal.value.faults] == [
        "ENNAKKO_HOST: is 'example.com': not an address. Give an IP address, e.g. 127.0.0.1",
        "ENNAKKO_PORT: is '70000': not a port. Give a number from 1 to 65535",
    ]


@pytest.mark.parametrize(("host", "on_loopback"), [("127.8.9.1", True), ("::1", True), ("0.0.0.0", False)])
def test_loopback_is_known_by_its_address(host, on_loopback):
    assert Settings.from_environment({"ENNAKKO_HOST": host}).on_loopback is on_loopback


def test_a_secret_is_made_once_and_kept_private(tmp_path):
    settings = Settings(home=tmp_path)
    first = settings.secret("lists")
    assert len(first) == 32
    assert settings.secret("lists") == first
    assert settings.secret("need-youth") != first
    (path,) = (tmp_path / "secrets").glob("lists*")
    assert path.stat().st_mode & 0o077 == 0
    path.chmod(0o644)
    with pytest.raises(NotTrusted, match="can be read by others than its owner"):
        settings.secret("lists")
    path.chmod(0o600)
    path.write_bytes(first[:-1])
    with pytest.raises(NotTrusted, match="holds 31 bytes, not 32"):
        settings.secret("lists")


def test_a_secret_that_must_be_there_is_not_made_anew(tmp_path):
    with pytest.raises(NotTrusted) as refusal:
        Settings(home=tmp_path).secret("objections", make=False)
    assert str(refusal.value) == f"{tmp_path}/secrets/objections.key: is lost. Restore it from the backup"
    assert list((tmp_path / "secrets").iterdir()) == []


def test_a_damaged_database_is_not_trusted_and_named(tmp_path):
    settings = Settings(home=tmp_path)
    with settings.engine().begin() as connection:
        connection.execute(text("CREATE TABLE counts (n INTEGER)"))
        connection.execute(text("INSERT INTO counts VALUES (0)"))
    path = tmp_path / "ennakko.db"
    whole = path.read_bytes()
    wrong = (
        f"{path}: is damaged: SQLite cannot read it. "
        "Restore it from the backup, together with ennakko.db-wal if the backup has one"
    )
    for content in (b"rubbish " * 1000, whole[:4096] + b"rubbish " * 512):
        path.write_bytes(content)
        with pytest.raises(NotTrusted) as refusal, settings.engine().connect() as connection:
            connection.execute(text("SELECT n FROM counts"))
        assert str(refusal.value) == wrong


def test_a_database_that_cannot_be_used_is_named_with_what_to_do(tmp_path):
    """SQLite's own answers: a file opened for reading alone, a folder in its place, a file that may not grow."""
    (tmp_path / "ennakko.db").mkdir()
    with pytest.raises(BadInput) as refusal, Settings(home=tmp_path).engine().connect():
        pass
    assert str(refusal.value).startswith(f"{tmp_path}/ennakko.db: cannot be opened or made. Make the file and its")
    with Settings(home=tmp_path, database_url=f"sqlite:///{tmp_path}/old.db").engine().begin() as connection:
        connection.execute(text("CREATE TABLE counts (n TEXT)"))
    read_only = Settings(home=tmp_path, database_url=f"sqlite:///file:{tmp_path}/old.db?mode=ro&uri=true").engine()
    wrong = "cannot be written: it, its folder or its disk is read-only"
    with pytest.raises(BadInput, match=wrong), read_only.begin() as connection:
        connection.execute(text("INSERT INTO counts VALUES ('1')"))
    full = Settings(home=tmp_path, database_url=f"sqlite:///{tmp_path}/old.db").engine()
    wrong = r"old\.db: cannot be written: there is no room left"
    with pytest.raises(BadInput, match=wrong), full.begin() as connection:
        connection.execute(text("PRAGMA max_page_count = 1"))
        connection.execute(text("INSERT INTO counts VALUES (:long)"), {"long": "x" * 100_000})


@pytest.mark.parametrize(("value", "shown"), [(None, False), ("", False), ("0", False), ("1", True)])
def test_tracebacks_are_shown_only_when_asked_for(monkeypatch, value, shown):
    monkeypatch.delenv("ENNAKKO_DEBUG", raising=False)
    if value is not None:
        monkeypatch.setenv("ENNAKKO_DEBUG", value)
    assert shows_tracebacks() is shown


def test_two_who_make_a_secret_at_once_get_the_same(tmp_path):
    settings, found = Settings(home=tmp_path), []
    start = threading.Barrier(8)

    def make():
        start.wait()
        found.append(settings.secret("lists"))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert len(list((tmp_path / "secrets").iterdir())) == 1


def test_writers_wait_for_each_other(tmp_path):
    engine = Settings(home=tmp_path).engine()
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE counts (n INTEGER)"))
        connection.execute(text("INSERT INTO counts VALUES (0)"))
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"

    def count():
        for _ in range(20):
            with engine.begin() as connection:
                n = connection.execute(text("SELECT n FROM counts")).scalar()
                connection.execute(text("UPDATE counts SET n = :n"), {"n": n + 1})

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT n FROM counts")).scalar() == 80


def test_issuers_are_named_with_what_their_tokens_are_for():
    city = {"ENNAKKO_ISSUER": "https://login.example.fi/realms/city", "ENNAKKO_AUDIENCE": "ennakko"}
    profile = {"ENNAKKO_PROFILE_ISSUER": "http://127.0.0.1:8888/", "ENNAKKO_PROFILE_AUDIENCE": "ennakko-profile"}
    settings = Settings.from_environment(
        {**city, **profile, "ENNAKKO_GDPR_LOA": "substantial", "ENNAKKO_CLAIM_ROLE": "r"}
    )
    assert (settings.issuer, settings.profile_issuer) == (city["ENNAKKO_ISSUER"], "http://127.0.0.1:8888/")
    assert (settings.gdpr_loa, settings.claim_role, settings.claim_needs) == (("substantial",), "r", "needs")
    alike = {f"ENNAKKO_PROFILE_{key.removeprefix('ENNAKKO_')}": value for key, value in city.items()}
    for environment, wrong in (
        ({"ENNAKKO_ISSUER": "https://x.fi"}, "settings: ENNAKKO_ISSUER is given without ENNAKKO_AUDIENCE"),
        ({"ENNAKKO_PROFILE_AUDIENCE": "x"}, "ENNAKKO_PROFILE_AUDIENCE is given without ENNAKKO_PROFILE_ISSUER"),
        ({**city, **alike}, "ENNAKKO_ISSUER and ENNAKKO_PROFILE_ISSUER share issuer and audience"),
    ):
        with pytest.raises(BadInput, match=wrong):
            Settings.from_environment(environment)
