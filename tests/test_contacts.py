"""The contact book: checked whole, silent about people, opened by outreach alone and only after ranking."""

import ast
import re
from dataclasses import asdict
from pathlib import Path

import polars as pl
import pytest
from listed_cases import a_need, contact_rows

from ethics.refusals import BadInput
from features.city import open_city
from features.synthetic import synthetic_city
from scoring.contacts import CHANNELS, ContactBook, contacts_file, suggested_channel
from scoring.list_cells import contact_texts
from scoring.reasons import Words
from serving.list_work import contacts_of

ROOT = Path(__file__).resolve().parent.parent
READER, WRITER = "scoring/contacts.py", "features/synthetic_contacts.py"
SECRET = ("unlisted", "000031", "0000006", "0000007")


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return synthetic_city(tmp_path_factory.mktemp("city") / "city", 6_000, seed=3).folder


def book(**columns):
    return ContactBook(contact_rows().with_columns(**columns), "contacts")


def test_a_person_is_reached_as_they_prefer_and_never_digitally_unless_they_use_digital_services():
    people = [f"{i:06d}" for i in range(1, 10)]
    found = {row.person_id: suggested_channel(row) for row in book().of(people)}
    expected = ("digital", "phone", "letter", "visit", "phone", "officer", "officer", "letter", "letter")
    assert found == dict(zip(people, expected, strict=True))
    assert {*found.values()} <= {*CHANNELS, "officer"}


def test_a_child_is_reached_through_the_guardian_in_the_guardians_language():
    (row,) = book().of(["000005"])
    assert (row.guardian, row.name, row.phone) == ("000030", "Person 000030", "+358 000 0000030")
    assert (row.language, row.interpreter, row.secrecy_order) == ("ar", True, False)


def test_a_secrecy_order_hides_the_person_and_whoever_leads_to_them():
    rows = book().of(["000006", "000007"])
    for row in rows:
        assert row.hidden and row.secrecy_order
        assert not any(secret in str(value) for value in asdict(row).values() for secret in SECRET)
        assert row.language is row.channel is row.guardian is None
    shown = book().of(["000006", "000007"], show_secret=True)
    assert [row.name for row in shown] == ["Person 000006 unlisted", "Person 000031 unlisted"]
    assert all(row.secrecy_order and not row.hidden for row in shown)


def test_a_guardian_who_objects_or_was_erased_is_shown_to_nobody_and_the_child_has_no_channel():
    masked = ContactBook(contact_rows(), "contacts", masked=lambda who: [one in ("000030", "000031") for one in who])
    child, secret, adult = masked.of(["000005", "000007", "000001"], show_secret=True)
    for row, guardian in ((child, "000030"), (secret, "000031")):
        assert row.masked and row.suggested_channel == "none"
        assert row.name is row.phone is row.language is row.guardian is None and guardian not in str(asdict(row))
        texts = contact_texts(row, Words.of("en"))
        assert texts["contact_name"] == texts["channel"] == Words.of("en")("list.masked") and not texts["contact_phone"]
    assert (adult.masked, adult.name) == (False, "Person 000001")
    (hidden,) = masked.of(["000007"])
    assert hidden.hidden and hidden.suggested_channel == "none"


def test_the_children_of_a_guardian_are_found_under_a_secrecy_order_too():
    assert (book().children_of("000031"), book().children_of("000030")) == ({"000007"}, {"000005"})
    assert book().children_of("000001") == set()


def test_guardians_of_those_who_have_one_and_no_order():
    assert book().guardians([f"{i:06d}" for i in range(1, 40)]) == {"000005": "000030"}


def test_neither_book_nor_row_shows_anybody_when_printed():
    assert repr(book()) == "<ContactBook of 10 people>"
    assert repr(book().of(["000001"])) == "(ContactRow(…),)"


def test_every_fault_is_told_at_once_and_no_value_is_shown():
    values = ("telepathy", "finnish", "Annabella", "0" * 130)
    wrong = contact_rows().with_columns(
        person_id=pl.lit("000001"),
        channel=pl.lit(values[0]),
        language=pl.lit(values[1]),
        guardian=pl.lit(values[2]),
        phone=pl.lit(values[3]),
        secrecy_order=pl.lit(None, dtype=pl.Boolean),
    )
    with pytest.raises(BadInput) as refusal:
        ContactBook(wrong, "contacts")
    assert [fault.where for fault in refusal.value.faults] == [
        f"contacts: {name}" for name in ("person_id", "channel", "language", "secrecy_order", "guardian", "phone")
    ]
    assert not any(value in str(refusal.value) for value in (*values, "000001"))
    with pytest.raises(BadInput) as refusal:
        ContactBook(contact_rows().drop("secrecy_order", "phone").with_columns(interpreter=pl.lit(0.5)), "contacts")
    assert [fault.where for fault in refusal.value.faults] == [
        "contacts: phone", "contacts: interpreter", "contacts: secrecy_order",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "value", "wrong"),
    [
        ("interpreter", "perhaps", "holds 10 values that are neither true nor false"),
        ("name", "two\nlines", "is too long or not on one line in 10 rows"),
        ("person_id", None, "is missing in 10 rows"),
    ],
)
def test_a_fault_alone(column, value, wrong):
    with pytest.raises(BadInput) as refusal:
        book(**{column: pl.lit(value, dtype=pl.String), "guardian": pl.lit(None, dtype=pl.String)})
    assert [(fault.where, fault.wrong) for fault in refusal.value.faults] == [(f"contacts: {column}", wrong)]


def test_a_table_and_a_text_file_hold_the_same(tmp_path):
    rows = contact_rows()
    rows.write_parquet(tmp_path / "contacts.parquet")
    rows.write_csv(tmp_path / "contacts.csv")
    people = rows["person_id"].to_list()
    assert contacts_file(tmp_path).suffix == ".parquet"
    one, other = (ContactBook.open(tmp_path / f"contacts.{ending}").of(people) for ending in ("parquet", "csv"))
    assert one == other
    assert contacts_file(tmp_path / "nowhere") is None


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "contacts.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(BadInput, match="cannot be read"):
        ContactBook.open(tmp_path / "contacts.parquet")


def test_the_book_is_opened_only_for_a_list_that_shows_it(tmp_path):
    assert contacts_of(tmp_path, a_need(("channel",))) is None  # the city has none
    (tmp_path / "contacts.parquet").write_bytes(b"damaged")
    assert contacts_of(tmp_path, a_need(("rank_band", "reasons"))) is None
    with pytest.raises(BadInput, match="cannot be read"):
        contacts_of(tmp_path, a_need(("channel",)))


def test_nothing_else_names_the_file():
    """The book is one module's: features and models cannot come by it, and no other part opens it."""
    named = re.compile(r"\bcontacts\.(parquet\b|csv\b|$)")
    for package in ("ethics", "features", "models", "scoring", "serving"):
        for path in (ROOT / package).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            if name in (READER, WRITER):
                continue
            tree = ast.parse(path.read_text("utf-8"))
            docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            texts = {
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
            }
            assert not any(named.search(text) for text in texts), name
            modules = {
                node.module if isinstance(node, ast.ImportFrom) else alias.name
                for node in ast.walk(tree)
                if isinstance(node, ast.Import | ast.ImportFrom)
                for alias in node.names
            }
            assert "features.synthetic_contacts" not in modules or name == "features/synthetic.py", name
            if package in ("ethics", "features", "models"):
                assert "scoring.contacts" not in modules, name
    writer = (ROOT / WRITER).read_text("utf-8")
    assert "read_" not in writer and "scan_" not in writer


def test_a_city_knows_nothing_of_its_book(city, tmp_path):
    with_book = open_city(city)
    for path in city.iterdir():
        if path.name != "contacts.parquet" and path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    assert open_city(tmp_path).digest == with_book.digest
    assert not any("phone" in str(column) for column in with_book.persons.columns)


def test_the_invented_book_is_whole_and_fits_the_invented_people(city):
    book, rows = ContactBook.open(contacts_file(city)), pl.read_parquet(contacts_file(city))
    persons = pl.read_parquet(city / "persons.parquet")
    assert rows["person_id"].to_list() == persons["person_id"].to_list()
    assert rows["name"].to_list() == [f"Person {person}" for person in rows["person_id"]]
    assert rows["phone"].drop_nulls().str.contains(r"^\+358 000 \d{7}$").all()
    assert repr(book) == "<ContactBook of 6,000 people>"
    groups = rows.join(pl.read_parquet(city / "groups.parquet"), on="person_id", suffix="_group")
    for group in ("fi", "sv"):
        assert set(groups.filter(pl.col("language_group") == group)["language"]) == {group}
    other = groups.filter(pl.col("language_group") == "other")
    assert not {"fi", "sv"} & set(other["language"])
    asked = other.filter("interpreter").height
    assert asked == rows["interpreter"].sum() and 0.2 < asked / other.height < 0.5
    born = dict(persons.iter_rows())
    children = rows.filter(pl.col("guardian").is_not_null())
    assert children.height > 500
    assert all(born[child] > born[guardian] for child, guardian in children.select("person_id", "guardian").iter_rows())
    assert min(born[child] for child in children["person_id"]).year >= 2007
    assert 0.3 < (rows["channel"] == "digital").mean() < 0.95


def test_who_is_under_an_order_in_early_education_is_under_it_here_with_the_whole_household(city):
    rows = pl.read_parquet(contacts_file(city))
    secret = set(rows.filter("secrecy_order")["person_id"])
    children = pl.read_parquet(city / "preschool_children.parquet").filter("secrecy_order")
    assert set(children["person_id"]) <= secret and 0 < len(secret) < 0.03 * rows.height
    tied = rows.filter(pl.col("guardian").is_not_null()).select("person_id", "guardian")
    assert all((child in secret) == (guardian in secret) for child, guardian in tied.iter_rows())
