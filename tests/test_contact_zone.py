"""Contact data from the city's book to the units' files, and nowhere else: store, records, log and shared files."""

from pathlib import Path

import polars as pl
import pytest
from sealed_world import AS_OF, MODEL_NEED, World

from scoring.contacts import ContactBook
from serving.list_work import list_need

LIST = '\n[list]\ncolumns = ["rank_band", "reasons", "channel", "contact"]\n'
NAME, NUMBER = b"Zebrafinch Quillfeather", b"+358 000 77"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    world = World(folder, units=True, need_text=MODEL_NEED + LIST)
    people = world.city.persons["person_id"]
    world.groups._frame.write_parquet(folder / "city" / "groups.parquet")
    pl.DataFrame(
        {
            "person_id": people,
            "name": [f"{NAME.decode()} {person}" for person in people],
            "channel": "phone",
            "phone": [f"{NUMBER.decode()}{person}" for person in people],
            "language": "fi",
            "interpreter": False,
            "guardian": pl.Series([None] * len(people), dtype=pl.String),
            "secrecy_order": False,
        }
    ).write_parquet(folder / "city" / "contacts.parquet")
    (folder / "youth.toml").write_text(world.need_text)
    world.approve()
    return world


def test_contacts_go_into_the_units_files_and_nowhere_else(world, monkeypatch):
    opened, asked = [], []
    open_book = ContactBook.open.__func__
    monkeypatch.setattr(
        ContactBook, "open", classmethod(lambda cls, *more: opened.append(list(asked)) or open_book(cls, *more))
    )
    monkeypatch.setattr("scoring.outreach.ask_gate", watched("scoring.outreach.ask_gate", asked))
    result = list_need(world.home, world.folder / "city", world.folder / "youth.toml", AS_OF)
    assert opened == [["asked"]], "opened once, when the ranking was made and the gate had answered"
    files = [Path(path) for path in result["files"]]
    holding = {path.name for path in files if path.suffix in (".csv", ".html") and NAME in path.read_bytes()}
    assert holding == {f"{unit}.{ending}" for unit in ("north", "east") for ending in ("csv", "html")}
    units = ("north.", "east.")
    for path in world.home.root.rglob("*"):
        if path.is_file() and not path.name.startswith(units):
            content = path.read_bytes()
            assert NAME not in content and NUMBER not in content, path.name
    assert not any(
        NAME.decode() in (text or "") for text in world.home.store.rows(result["list_id"])["payload"].to_list()
    )
    assert NAME.decode() not in str(result) and NUMBER.decode() not in str(result)


def watched(name, asked):
    from importlib import import_module

    module, _, function = name.rpartition(".")
    real = getattr(import_module(module), function)

    def told(*given, **more):
        found = real(*given, **more)
        asked.append("asked")
        return found

    return told
