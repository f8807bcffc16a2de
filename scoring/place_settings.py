"""The weights of pre-school place proposals: ``[assignment]`` of a TOML file, all in metres on foot."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, model_validator

from ethics.refusals import read_toml

DEFAULT_SETTINGS = Path(__file__).with_name("assignment.toml")


class AssignmentSettings(BaseModel):
    """One key of ``[assignment]`` each; ``scoring/assignment.toml`` says what they mean."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    detour_factor: float = Field(ge=1, le=3, allow_inf_nan=False)
    max_metres: float = Field(ge=100, le=100_000, allow_inf_nan=False)
    refusal_metres: float = Field(ge=0, le=1_000_000, allow_inf_nan=False)
    sibling_metres: float = Field(ge=0, le=1_000_000, allow_inf_nan=False)
    language_metres: float = Field(ge=0, le=1_000_000, allow_inf_nan=False)
    no_place_metres: float = Field(gt=0, le=10_000_000, allow_inf_nan=False)
    hold_for_exceptions: StrictBool
    answer_days: int = Field(ge=0, le=365)
    offers_at_least: int = Field(ge=60)
    compare_by: tuple[StrictStr, ...]

    @model_validator(mode="after")
    def _a_place_is_worth_most(self) -> AssignmentSettings:
        most = self.max_metres + self.refusal_metres + 2 * self.sibling_metres + self.language_metres
        if self.no_place_metres <= most:
            raise ValueError(
                f"no_place_metres is {self.no_place_metres:g}, no more than one place can cost ({most:g}), so children "
                f"would stay without a place while places are free | Give more than {most:g}"
            )
        return self


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    assignment: AssignmentSettings


def load_settings(path: Path | None = None) -> AssignmentSettings:
    """The settings of a file, or those that come with Ennakko.

    Raises
    ------
    BadInput
        Everything wrong with the file at once.

    >>> load_settings().max_metres
    5000.0
    """
    return read_toml(path or DEFAULT_SETTINGS, _File).assignment
