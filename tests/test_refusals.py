from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, StrictInt, field_validator

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
    assert any(f.where == "n.toml: features[0].horizon_days" and f.wrong == "is 'a'" for f in faults)
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
