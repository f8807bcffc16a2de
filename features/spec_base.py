"""What every part of a need definition is made of: a frozen value that refuses to be born wrong, and its small types.

What is impossible is refused when a spec is born; what is possible but not built yet is refused when it is to be used,
by :func:`require_built`, so that no setting is ever ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StrictStr, ValidationError

from ethics.refusals import BadInput, Fault, faults_of
from features.windows import Window, is_whole

_FIRST_YEAR, _LAST_YEAR = 1900, 2200


class SpecError(BadInput):
    """A definition of cohort, label or features that cannot be used."""


class Spec(BaseModel):
    """A frozen value that refuses to be born wrong.

    Made directly it raises :class:`SpecError`; read inside a larger schema it leaves its faults to that schema, so
    that a need file is refused with everything that is wrong in it at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
    where_in_file: ClassVar[str] = "spec"

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SpecError(*faults_of(error, type(self).where_in_file, type(self))) from None

    # Tells pydantic that nested values need not pass through this method (BaseModel marks its own likewise).
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    def not_built(self, where: str = "") -> list[Fault]:
        """What this value asks for that is recognised but not built yet; empty when it can be used."""
        place = where or type(self).where_in_file
        return [Fault(f"{place}.{key}", f"not built yet: {wanted}", mend) for key, wanted, mend in self._unbuilt()]

    def _unbuilt(self) -> Iterator[tuple[str, str, str]]:
        yield from ()


def require_built(specs: Iterable[Spec], where: str = "") -> None:
    """Refuse every part of the given specs that is recognised but not built yet, all at once.

    Raises
    ------
    SpecError
        One fault each, e.g. ``features 'absence'.measures: not built yet: 'trend'. …``.
    """
    prefix = f"{where}: " if where else ""
    faults = [fault for spec in specs for fault in spec.not_built()]
    if faults:
        raise SpecError(*(fault._replace(where=prefix + fault.where) for fault in faults))


def _code_pattern(value: str) -> str:
    if not value.strip() or value != value.strip():
        raise ValueError("not a code | Give the code as the event log writes it, without blanks around it")
    if "*" in value[:-1]:
        raise ValueError("a star may only end a code | Write 'care.psychiatry.*' for every code beginning so")
    return value


def _said(value: str) -> str:
    if not value.strip():
        raise ValueError("empty | Say it in words, or leave the key out")
    return value


def some(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuse an empty list."""
    if not values:
        raise ValueError("nothing to look for | Give at least one")
    return values


def _plain_date(value: Any) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        if _FIRST_YEAR <= value.year <= _LAST_YEAR:
            return value
        raise ValueError(f"outside the years {_FIRST_YEAR}-{_LAST_YEAR} | Give a day such as 2024-01-31")
    raise ValueError("not a day | Give a day such as 2024-01-31, without quotes or a clock")


def _value(value: Any) -> Any:
    if isinstance(value, str) or is_whole(value):
        return value
    raise ValueError('neither text nor a whole number | Give values as the city has them, e.g. "Kallio" or 4')


Value = Annotated[str | int, BeforeValidator(_value)]
Code = Annotated[StrictStr, AfterValidator(_code_pattern)]
Codes = Annotated[tuple[Code, ...], AfterValidator(some)]
AnyWindow = Annotated[Window, BeforeValidator(Window.parse)]
Day = Annotated[date, BeforeValidator(_plain_date)]
Said = Annotated[StrictStr, AfterValidator(_said)]


class Texts(Spec):
    """One text in the three languages of the city."""

    where_in_file = "text"
    fi: Said
    sv: Said
    en: Said
