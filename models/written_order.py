"""Orders as need files write them: columns, which end comes first, and where the missing go."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator

_ORDER_HOW = "Write '<column> asc' or '<column> desc', and 'missing first' or 'missing last' after it if it matters"


@dataclass(frozen=True)
class OrderTerm:
    """One step of a written order: a column, which end comes first, and where the missing go.

    >>> str(OrderTerm.parse("screening.days_since_last.ever desc missing first"))
    'screening.days_since_last.ever desc missing first'
    """

    column: str
    descending: bool
    missing_first: bool = False

    @classmethod
    def parse(cls, text: Any) -> OrderTerm:
        """A term as need files write it; ValueError otherwise."""
        if isinstance(text, OrderTerm):
            return text
        words = text.split() if isinstance(text, str) else []
        if len(words) not in (2, 4) or words[1] not in ("asc", "desc"):
            raise ValueError(f"not a column with a direction | {_ORDER_HOW}")
        if words[2:] and (words[2] != "missing" or words[3] not in ("first", "last")):
            raise ValueError(f"'{' '.join(words[2:])}' does not say where the missing go | {_ORDER_HOW}")
        return cls(words[0], words[1] == "desc", words[2:] == ["missing", "first"])

    def __str__(self) -> str:
        missing = " missing first" if self.missing_first else ""
        return f"{self.column} {'desc' if self.descending else 'asc'}{missing}"


def parse_order(value: Any) -> tuple[OrderTerm, ...]:
    """A written order: one text, several with commas between, or a list of them; ValueError otherwise."""
    terms = value.split(",") if isinstance(value, str) else value
    if not isinstance(terms, list | tuple) or not terms:
        raise ValueError(f"not an order | {_ORDER_HOW}")
    order = tuple(OrderTerm.parse(term) for term in terms)
    if twice := [column for column, n in Counter(term.column for term in order).items() if n > 1]:
        raise ValueError(f"{', '.join(twice)} comes twice | Name each column once")
    return order


Order = Annotated[tuple[OrderTerm, ...], BeforeValidator(parse_order)]
