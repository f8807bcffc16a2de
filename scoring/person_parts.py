"""What a person's page is made of: headings, paragraphs, lists and tables, whatever draws them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Item:
    """One point of a list, with lines under it."""

    text: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Block:
    """One part of a section.

    Attributes
    ----------
    kind : str
    text : str
        Of a heading or a paragraph; of a table, its caption.
    items : tuple of Item
        Of a list.
    heads, rows
        Of a table.
    """

    kind: Literal["heading", "paragraph", "bullets", "sheet"]
    text: str = ""
    items: tuple[Item, ...] = ()
    heads: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def heading(text: str) -> Block:
    """A heading within a section."""
    return Block("heading", text)


def paragraph(text: str) -> Block:
    """A paragraph."""
    return Block("paragraph", text)


def bullets(items: Iterable[Item | str]) -> Block:
    """A list of points."""
    return Block("bullets", items=tuple(Item(item) if isinstance(item, str) else item for item in items))


def sheet(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Block:
    """A table with its caption."""
    return Block("sheet", caption, heads=heads, rows=rows)
