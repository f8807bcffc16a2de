from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, field_validator

from ethics.refusals import BadInput, Fault, did_you_mean, parse_toml, read_toml


class Label(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    horizon_days: StrictInt

    @field_validator("horizon_days")
    @classmethod
    def _is_positive(cls, days):
        if days < 1:
            raise ValueError("no day lies after the as-of date | Give the number of days to look ahead, e.g. 180")
        return days


class Definition(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    title: str
    label: Label
    features: tuple[Label, ...] = ()


def test_every_fault_is_told_at_once_with_place_value_and_mend():
    text = b'titel = "x"\n[label]\nhorizon_days = 0\n[[features]]\nhorizn_days = 3\nhorizon_days = "a"\n'
    with pytest.raises(BadInput) as refused:
        parse_toml(text, "n.toml", Definition)
    faults = refused.value.faults
    assert (
        Fault("n.toml: titel", "is not a key here", "Did you mean 'title'? Allowed: features, label, title") in faults
    )
    assert (
        Fault(
            "n.toml: label.horizon_days",
            "is 0: no day lies after the as-of date",
            "Give the number of days to look ahead, e.g. 180",
        )
        in faults
    )
    assert (
        Fault(
            "n.toml: features[0].horizn_days", "is not a key here", "Did you mean 'horizon_days'? Allowed: horizon_days"
        )
        in faults
    )
    assert Fault("n.toml: title", "is missing", "Add it; docs/need-file.md shows an example") in faults
    whole = ("is 'a': not a whole number", "Give a whole number, e.g. 4")
    assert Fault("n.toml: features[0].horizon_days", *whole) in faults
    assert len(faults) == 5


def test_a_text_that_is_not_toml_is_one_fault():
    with pytest.raises(BadInput, match=r"n\.toml: is not readable TOML"):
        parse_toml(b"\xff\xfe", "n.toml", Definition)
    with pytest.raises(BadInput, match=r"n\.toml: is not readable TOML"):
        parse_toml(b"a = = 1", "n.toml", Definition)


def test_a_missing_file_is_one_fault(tmp_path: Path):
    with pytest.raises(BadInput, match="cannot be read"):
        read_toml(tmp_path / "none.toml", Definition)


def test_the_nearest_word_is_offered_only_when_there_is_one():
    assert did_you_mean("zzz", ["visit", "absence"]) == "Allowed: absence, visit"


class Everything(BaseModel):
    model_config = ConfigDict(strict=True)
    whole: StrictInt = 1
    number: StrictFloat = 1.0
    text: StrictStr = "x"
    truth: StrictBool = True
    day: date = date(2024, 1, 1)
    entries: tuple[int, ...] = ()
    table: dict[str, int] = Field(default_factory=dict)
    label: Label = Label(horizon_days=1)
    word: Literal["a", "b", "c"] = "a"
    bounded: Annotated[int, Field(ge=1, le=9)] = 1
    inner: Annotated[float, Field(gt=0, lt=1)] = 0.5
    some: Annotated[list[int], Field(min_length=1, max_length=2)] = [1]


@pytest.mark.parametrize(
    ("line", "wrong", "mend"),
    [
        ("whole = 'x'", "is 'x': not a whole number", "Give a whole number, e.g. 4"),
        ("whole = 4.5", "is 4.5: not a whole number", "Give a whole number, e.g. 4"),
        ("number = 'x'", "is 'x': not a number", "Give a number, e.g. 0.5"),
        ("text = 4", "is 4: not text", "Put it in quotes"),
        ("truth = 'yes'", "is 'yes': neither true nor false", "Give true or false, without quotes"),
        ("day = 'soon'", "is 'soon': not a day", "Give a day such as 2024-01-31"),
        ("day = 2024-01-31T10:00:00", "is 2024-01-31T10:00:00: not a day", "Give a day such as 2024-01-31"),
        ("entries = 4", "is 4: not a list", 'Give a list, e.g. ["first", "second"]'),
        ("table = 4", "is 4: not a table", "Give a table of keys and values, e.g. { key = value }"),
        ("label = 4", "is 4: not a table", "Give a table of keys and values, e.g. { key = value }"),
        ("word = 'd'", "is 'd': not one of those allowed", "Give 'a', 'b' or 'c'"),
        ("bounded = 0", "is 0: too small", "Give at least 1"),
        ("bounded = 10", "is 10: too large", "Give at most 9"),
        ("inner = 0.0", "is 0.0: too small", "Give more than 0.0"),
        ("inner = 1.0", "is 1.0: too large", "Give less than 1.0"),
        ("some = []", "is []: too few entries", "Give at least 1"),
        ("some = [1, 2, 3]", "is [1, 2, 3]: too many entries", "Give at most 2"),
    ],
)
def test_what_pydantic_finds_is_said_in_our_words(line, wrong, mend):
    with pytest.raises(BadInput) as refused:
        parse_toml(line.encode(), "n.toml", Everything)
    assert refused.value.faults == (Fault(f"n.toml: {line.split()[0]}", wrong, mend),)
