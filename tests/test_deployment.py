"""Dockerfile, compose file, Bento file and locks: what they name exists, and what is copied is the code and no more."""

import re
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml

from ethics.digests import PACKAGES, code_digest
from serving.cli import main
from serving.settings import _MAY_BE_FILES, Settings

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
DATA = {".py", ".toml", ".jinja"}


def settings_named(text):
    return set(re.findall(r"\bENNAKKO_[A-Z_]*[A-Z]\b", text))


def real_settings():
    names = {f"ENNAKKO_{field.upper()}" for field in Settings.model_fields}
    return names | {f"ENNAKKO_{field.upper()}_FILE" for field in _MAY_BE_FILES} | {"ENNAKKO_DEBUG"}


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml", "docs/operate.md", "docs/examples.md", "docs/http.md"])
def test_every_setting_that_is_named_is_one(name):
    text = (ROOT / name).read_text()
    assert settings_named(text) - {"ENNAKKO_CLAIM_"} <= real_settings()


def pins(name):
    return dict(re.findall(r"(?m)^([a-z0-9][\w.-]*)(?:\[[^]]*\])?==([^ \\;]+)", (ROOT / name).read_text()))


def test_the_run_time_lock_has_the_versions_of_the_other_and_no_developers_tool():
    whole, run = pins("requirements.lock"), pins("requirements-run.lock")
    assert run.items() <= whole.items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.match(r"[\w-]+", line)[0].lower() for line in project["dependencies"]}
    assert wanted <= set(run)
    tools = {re.match(r"[\w-]+", line)[0].lower() for line in project["optional-dependencies"]["dev"]}
    assert not tools & set(run)
    for name in ("requirements-run.lock", "tests/oracles/deploy_lint.lock"):
        text = (ROOT / name).read_text()
        assert "index-url" not in text and "://" not in text
        assert text.count("==") == len(re.findall(r"(?m)^\S+==.* \\\n +--hash=sha256:", text))


def copied():
    """(source, target) of everything that the image takes from the checkout."""
    lines = re.findall(r"(?m)^COPY (?!--from)(\S+) (\S+)$", DOCKERFILE)
    assert len(lines) == len(re.findall(r"(?m)^COPY (?!--from)", DOCKERFILE))
    assert not re.search(r"(?m)^ADD ", DOCKERFILE)
    return lines


def test_the_image_takes_the_five_packages_and_the_lock_and_nothing_else():
    assert {source for source, _ in copied()} == {*PACKAGES, "requirements-run.lock"}
    ignore = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert ignore[0] == "*"
    assert {line[1:] for line in ignore if line[0] == "!"} == {source for source, _ in copied()}
    assert "/secrets" not in DOCKERFILE and "PASSWORD" not in DOCKERFILE and "TOKEN" not in DOCKERFILE


def test_the_code_that_the_image_has_is_that_of_the_checkout(tmp_path):
    for source, target in copied():
        if target.startswith("/app/"):
            leave = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(ROOT / source, tmp_path / target.removeprefix("/app/"), ignore=leave)
    assert code_digest(tmp_path) == code_digest()


def test_every_file_of_the_packages_is_of_a_kind_that_is_packed():
    packed = yaml.safe_load((ROOT / "bentofile.yaml").read_text())
    assert set(packed["include"]) == {f"/{p}/**/*{kind}" for p in PACKAGES for kind in DATA} | {
        "/requirements-run.lock"
    }
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert path.suffix in DATA, path
    assert packed["python"]["requirements_txt"] == "requirements-run.lock"
    assert packed["python"]["lock_packages"] is False


def test_the_image_runs_a_command_that_there_is_as_nobody_in_particular(capsys):
    assert re.search(r"(?m)^USER 10001:10001$", DOCKERFILE)
    assert re.search(r"(?m)^STOPSIGNAL SIGTERM$", DOCKERFILE)
    assert "/readyz" in re.search(r"(?m)^HEALTHCHECK [^\n]*\\\n[^\n]*", DOCKERFILE)[0]
    assert re.search(r'(?m)^ENTRYPOINT \["python", "-m", "serving"\]$', DOCKERFILE)
    assert main(["serve", "--city", "/nowhere", "--home", "/proc/nowhere"]) == 2  # read as words, then refused
    assert "--help" not in capsys.readouterr().err


def test_the_compose_file_holds_no_secret_and_listens_on_this_machine_alone():
    services = COMPOSE["services"]
    assert set(services) == {"ennakko", "postgres", "mlflow"}
    for name, service in services.items():
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service["user"].startswith("0") and "privileged" not in service, name
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"]), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN|SECRET|DATABASE_URL", variable):
                assert variable.endswith("_FILE") and value.startswith("/run/secrets/"), variable
                assert value.removeprefix("/run/secrets/") in service["secrets"], variable
    assert COMPOSE["networks"]["inner"]["internal"] is True
    assert {name for name, service in services.items() if "outer" in service["networks"]} == {"ennakko"}
    named = {secret for service in services.values() for secret in service.get("secrets", ())}
    assert named == set(COMPOSE["secrets"])
    volumes = {part.split(":")[0] for s in services.values() for part in s["volumes"] if isinstance(part, str)}
    assert volumes == set(COMPOSE["volumes"])
    assert "secrets/" in (ROOT / ".gitignore").read_text().splitlines()


NOT_PASSED = {
    "ENNAKKO_HOME",  # the image's
    "ENNAKKO_PORT",  # the one that is published
    "ENNAKKO_CITY",  # a mount, named in the command
    "ENNAKKO_WITHOUT_TOKENS",  # on loopback only
    "ENNAKKO_TOKEN",  # whoever asks a service has one
}
"""Settings that make no sense for the container of the service."""


def test_the_compose_file_passes_every_setting_on():
    passed = COMPOSE["services"]["ennakko"]["environment"]
    names = {f"ENNAKKO_{field.upper()}" for field in Settings.model_fields}
    assert {name.removesuffix("_FILE") for name in passed} == names - NOT_PASSED
    assert not NOT_PASSED & {name.removesuffix("_FILE") for name in passed}
    for name, value in passed.items():
        if value.startswith("$"):
            assert re.fullmatch(rf"\$\{{{name}:-\d?\}}", value), "passed on by its own name"
    # What nobody gave is as if it were not there.
    empty = {name: "" for name, value in passed.items() if value.startswith("$")}
    assert Settings.from_environment({**empty, "ENNAKKO_HOME": "/x"}) == Settings(home=Path("/x"))


def test_the_city_of_the_container_is_where_it_is_mounted():
    service = COMPOSE["services"]["ennakko"]
    (mount,) = [volume for volume in service["volumes"] if isinstance(volume, dict)]
    assert service["command"] == ["serve", "--city", mount["target"]]
    lines = re.findall(r"(?m)^docker compose run .*$", (ROOT / "docs" / "operate.md").read_text())
    cities = [city for line in lines for city in re.findall(r"(?:--city|city check) (\S+)", line)]
    assert len(cities) >= 3 and set(cities) == {mount["target"]}


def test_every_volume_that_holds_state_is_in_the_backup_and_comes_back():
    text = (ROOT / "docs" / "operate.md").read_text()
    backup, restore = (text.partition(f"## {name}\n")[2].partition("\n## ")[0] for name in ("Backup", "Restore"))
    stateful = {volume for volume in COMPOSE["volumes"] if volume != "kernels"}  # compiled anew where they are gone
    assert stateful == {"home", "runs", "database"}
    for lines, direction, dump in ((backup, "--create", "pg_dump"), (restore, "--extract", "pg_restore")):
        for name in ("ennakko", "mlflow"):
            (volume,) = [v for v in COMPOSE["services"][name]["volumes"] if str(v).split(":")[0] in stateful]
            folder = volume.split(":")[1]
            found = [line for line in lines.splitlines() if f" {name} " in line and f"tar {direction}" in line]
            found += [line for line in lines.splitlines() if f"tar {name} {direction}" in line]
            assert any(f"--directory {folder}" in line for line in found), (name, direction)
        assert "docker compose exec -T postgres sh -c 'PGPASSWORD" in lines and dump in lines


def test_secrets_are_read_from_files(tmp_path):
    from ethics.refusals import BadInput

    (tmp_path / "url").write_text("postgresql://ennakko:x@db/ennakko\n")
    given = {"ENNAKKO_DATABASE_URL_FILE": str(tmp_path / "url"), "ENNAKKO_HOME": str(tmp_path)}
    assert Settings.from_environment(given).database == "postgresql://ennakko:x@db/ennakko"
    (tmp_path / "empty").write_text("\n")
    wrong = {
        **given,
        "ENNAKKO_DATABASE_URL": "sqlite:///x.db",
        "ENNAKKO_TOKEN_FILE": str(tmp_path / "none"),
        "ENNAKKO_METRICS_TOKEN_FILE": str(tmp_path / "empty"),
    }
    with pytest.raises(BadInput) as refused:
        Settings.from_environment(wrong)
    assert [str(fault) for fault in refused.value.faults] == [
        "ENNAKKO_DATABASE_URL_FILE: is given beside ENNAKKO_DATABASE_URL. Give one of the two",
        "ENNAKKO_METRICS_TOKEN_FILE: names a file that is empty. Write the secret into it",
        "ENNAKKO_TOKEN_FILE: names a file that cannot be read (FileNotFoundError). Look at the path",
    ]
