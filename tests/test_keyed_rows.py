from datetime import date

import polars as pl
import pytest

from features.city import DataError, open_city
from features.keyed_rows import keyed_rows


def keys_of(*pairs):
    return pl.DataFrame(pairs, schema={"person_id": pl.String, "as_of_date": pl.Date}, orient="row")


def test_rows_of_a_matrix_come_by_date_and_person(tiny_city):
    city = open_city(tiny_city)
    keys = keys_of(("dora", date(2024, 2, 1)), ("anna", date(2024, 3, 1)), ("bo", date(2024, 2, 1)))
    assert keyed_rows(city, keys, in_order=True).keys["person_id"].to_list() == ["bo", "dora", "anna"]
    assert keyed_rows(city, keys).keys["person_id"].to_list() == ["dora", "anna", "bo"]


def test_everything_wrong_with_keys_is_said_at_once(tiny_city):
    city = open_city(tiny_city)
    keys = keys_of(("anna", date(2024, 2, 1)), ("anna", date(2024, 2, 1)), ("erik", None), ("bo", date(2025, 1, 1)))
    with pytest.raises(DataError) as refused:
        keyed_rows(city, keys, in_order=True)
    assert [str(fault) for fault in refused.value.faults] == [
        "keys: 1 rows have no as-of date. Give each row its day",
        "keys: 1 of 4 rows name persons who are not in the city 'tiny'. Ask for persons of its persons table",
        "keys: 1 of 4 rows repeat a person and as-of date. Give each person one row per as-of date",
        "keys: 1 of 4 rows look from a day after the extract date 2024-12-31. "
        "The city does not know those days yet: look from 2024-12-31 or earlier",
    ]


def test_a_label_may_be_asked_for_days_to_come(tiny_city):
    assert keyed_rows(open_city(tiny_city), keys_of(("anna", date(2025, 6, 1)))).as_of.size == 1


def test_no_rows_are_refused(tiny_city):
    with pytest.raises(DataError, match="keys: hold no rows"):
        keyed_rows(open_city(tiny_city), keys_of())
