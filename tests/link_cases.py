"""Cases of the profile links that hold on SQLite and on PostgreSQL alike; ``engine`` is where they live."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from ethics.refusals import BadInput, NotTrusted
from scoring.store import Store, StoreKeys
from serving.profile_links import ProfileLinks

KEYS = StoreKeys(b"a key of people, for tests", b"a key of tombstones, for tests")
KEY = b"a key of links, for tests"
ANNA, BO = UUID("9e14df7c-81f6-4c41-8578-6aa7b9d0e5c0"), UUID("65d4015d-1736-4848-9466-25d43a1fe8c7")


def links_of(engine):
    return ProfileLinks(engine, KEY, Store(engine, KEYS))


def everything(engine):
    """Every value of every row of the table, as bytes and as text."""
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM profile_links")).all()
    return b"|".join(value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row)


def test_a_link_is_found_by_its_profile_and_by_nothing_else(engine):
    found = links_of(engine).link([(ANNA, "000123"), (BO, "000124")])
    assert (found.linked, found.known_before, found.erased) == (2, 0, 0)
    links = links_of(engine)
    assert (links.person_of(ANNA), links.person_of(BO), links.person_of(uuid4())) == ("000123", "000124", None)
    assert (links.link([(ANNA, "000123")]).known_before, links.count()) == (1, 2)


def test_the_table_names_neither_profile_nor_person(engine):
    links_of(engine).link([(ANNA, "000123")])
    content = everything(engine)
    for name in (ANNA.bytes, ANNA.hex.encode(), str(ANNA).encode(), b"000123"):
        assert name not in content
    assert ProfileLinks(engine, b"another key", Store(engine, KEYS)).person_of(ANNA) is None


def test_a_profile_is_one_persons_until_it_is_unlinked(engine):
    links = links_of(engine)
    links.link([(ANNA, "000123")])
    with pytest.raises(BadInput) as refusal:
        links.link([(BO, "000124"), (ANNA, "000125")])
    assert [str(fault) for fault in refusal.value.faults] == [
        "row 2: has a profile that is linked to another person. Check whose it is; then: ennakko profiles unlink UUID"
    ]
    assert (links.person_of(BO), links.count()) == (None, 1)  # all or none
    with pytest.raises(BadInput):
        links.link([(BO, "000124"), (BO, "000125")])
    assert links.count() == 1
    assert (links.unlink(ANNA), links.unlink(ANNA)) == (True, False)
    assert links.link([(ANNA, "000125")]).linked == 1
    assert links.person_of(ANNA) == "000125"


def test_a_person_may_have_several_profiles_and_erasure_ends_them_all(engine):
    links, store, second = links_of(engine), Store(engine, KEYS), uuid4()
    links.link([(ANNA, "000123"), (second, "000123"), (BO, "000124")])
    store.erase("000123")
    assert (links.person_of(ANNA), links.person_of(second), links.person_of(BO)) == (None, None, "000124")
    assert links.count() == 3
    assert (links.sweep(), links.sweep(), links.count()) == (2, 0, 1)
    found = links.link([(ANNA, "000123"), (BO, "000124")])  # whoever was erased is not linked again
    assert (found.linked, found.known_before, found.erased) == (0, 1, 1)
    assert links.person_of(ANNA) is None


def test_opening_finishes_an_erasure_that_was_cut_short(engine):
    links_of(engine).link([(ANNA, "000123"), (BO, "000124")])
    Store(engine, KEYS).erase("000123")
    assert links_of(engine).count() == 1
    assert ANNA.bytes not in everything(engine)


def test_many_begin_and_link_at_once(engine):
    profiles = [uuid4() for _ in range(40)]
    links_of(engine)  # the store itself is begun by one

    def one(number):
        links = links_of(engine)
        return links.link([(profile, f"{i:06d}") for i, profile in enumerate(profiles)][number:]).linked

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(one, range(4))) == 40
    assert [links_of(engine).person_of(profile) for profile in profiles[::10]] == [
        "000000",
        "000010",
        "000020",
        "000030",
    ]


def test_a_table_of_a_later_version_is_refused(engine):
    links_of(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE profile_links_version SET version_num = '0099'"))
    with pytest.raises(NotTrusted, match="the table of profile links: has version 0099"):
        links_of(engine)


def test_the_migration_makes_the_table_the_code_expects(engine):
    from sqlalchemy import inspect

    from serving import profile_links

    links_of(engine)
    found = inspect(engine)
    table = profile_links._LINKS
    assert [(c["name"], c["nullable"]) for c in found.get_columns(table.name)] == [
        (column.name, column.nullable) for column in table.columns
    ]
    assert {i["name"] for i in found.get_indexes(table.name)} == {index.name for index in table.indexes}
    assert found.get_pk_constraint(table.name)["constrained_columns"] == ["profile"]
