"""The files of a home that hold persons, and how somebody is taken out of them.

A file is rewritten without the person where it is a table that goes on being of use, and removed where it can be made
again or was handed out. Every step may be repeated: a file that no longer holds the person is left as it is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile, is_zipfile

from ethics.whole_file import write_whole
from scoring.list_records import ROWS, file_name_of

if TYPE_CHECKING:
    import polars as pl

    from serving.home import Home

Gone = Callable[[Sequence[str]], Sequence[bool]]
"""Person ids → whether each is to be taken out."""

_ID_COLUMNS = ("person_id", "person")
_WITHOUT_PERSONS = frozenset(
    {
        *("attestations", "audit_head.json", "capacity_value", "demo", "effects.toml", "erasures", "feature_cache"),
        *("keys", "mitigations", "mlartifacts", "policy", "rehearsals", "searches", "secrets", "serving"),
        *("simulations", "stop", "tombstones.txt", "trials", "verdicts", "week"),
    }
)
"""Counts and figures, keys and keyed hashes; the cache has a way of its own; ``demo`` holds invented cities."""
_TREATED = frozenset({"lists", "matrices", "places", "runs", "scores"})
_DATABASE = re.compile(r".*\.db(-wal|-shm|-journal)?")
_CITY = ("city.toml", "persons.parquet", "persons.csv")
"""A folder with one of these is a city's: its registers are not the home's to erase from."""
_TOKEN = re.compile(r"[^\s<>\"'&;,()\[\]{}=|:]+")
_AROUND = ".!?*_/"
"""What may stand around a word of a sentence. Within one it stays: a decimal or a date names nobody."""


@dataclass
class Swept:
    """What became of files: paths below the home. Of ``unreadable`` ones nobody can say whom they hold."""

    rewritten: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def sweep(home: Home, gone: Gone) -> Swept:
    """Take persons out of every file of a home but its runs' evidence; drafts of processes that have ended go too.

    Parameters
    ----------
    home : Home
        Nobody else may be writing in it (:meth:`serving.home.Home.in_use`).
    gone : callable

    Returns
    -------
    Swept
        A table that cannot be read is removed where its bytes name somebody who is to go, and told otherwise; the rest
        is swept all the same.
    """
    swept = Swept()

    def at(path: Path) -> str:
        return str(path.relative_to(home.root))

    @contextmanager
    def in_spite_of_damage(path: Path) -> Iterator[None]:
        try:
            yield
        except _unreadable():
            if _any_gone(_words(path.read_bytes()), gone):
                path.unlink()
                swept.removed.append(at(path))
            else:
                swept.unreadable.append(at(path))

    for path in _drafts(home):
        _remove(path)
        swept.removed.append(at(path))
    for folder in sorted(path for path in home.lists.glob("*/*") if path.is_dir()):
        for path in _files_of_units(folder, gone, in_spite_of_damage):
            path.unlink()
            swept.removed.append(at(path))
        with in_spite_of_damage(folder / ROWS):
            if _rewrite(folder / ROWS, gone):
                swept.rewritten.append(at(folder / ROWS))
    for path in sorted(home.scores.rglob("*.parquet")):
        with in_spite_of_damage(path):
            if _rewrite(path, gone):
                swept.rewritten.append(at(path))
    for path in sorted((home.root / "matrices").rglob("*.parquet")):
        with in_spite_of_damage(path):
            if _ids_gone(path, gone):
                path.unlink()
                swept.removed.append(at(path))
    for folder in sorted(path for path in (home.root / "places").glob("*") if path.is_dir()):
        for path in sorted(folder.glob("*.parquet")):
            with in_spite_of_damage(path):
                if folder.exists() and _ids_gone(path, gone):
                    shutil.rmtree(folder)
                    swept.removed.append(at(folder))
    for path in list(_others(home)):
        if holds(path, gone):
            path.unlink()
            swept.removed.append(at(path))
    return swept


def remove_exports(home: Home, files: Iterable[str]) -> list[str]:
    """Remove files that were handed out and still lie in the home; the others are for people to call back."""
    removed = []
    for file in files:
        path = Path(file)
        if path.is_relative_to(home.root) and path.name not in (ROWS, "list.json") and path.is_file():
            path.unlink()
            removed.append(str(path.relative_to(home.root)))
    return removed


def holds(path: Path, gone: Gone) -> bool:
    """Whether a file of any kind names somebody who is to go: tables by their texts, others by their words."""
    try:
        if path.suffix == ".parquet":
            return _any_gone(_texts_of_table(path), gone)
        if path.suffix == ".json":
            return _any_gone(_texts_of_json(json.loads(path.read_bytes())), gone)
        if is_zipfile(path):
            with ZipFile(path) as parts:
                return any(_any_gone(_words(parts.read(name)), gone) for name in parts.namelist())
    except (BadZipFile, ValueError, _unreadable()):
        pass  # cut short, or not what its name says: its words are looked at
    return _any_gone(_words(path.read_bytes()), gone)


# ---- one kind at a time --------------------------------------------------------------------------------------------


def _drafts(home: Home) -> Iterator[Path]:
    """What killed processes left under a name that begins with a point, or as unfinished; locks are none."""
    for root in (home.scores, home.lists, home.runs, home.root / "matrices", home.root / "places"):
        found = sorted(
            path for path in (*root.rglob(".*"), *root.rglob("*.unfinished")) if not path.name.endswith(".lock")
        )
        for path in found:
            if path.exists():  # not within a draft folder that has just gone
                yield path


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _files_of_units(
    folder: Path, gone: Gone, in_spite_of_damage: Callable[[Path], AbstractContextManager[None]]
) -> list[Path]:
    """Files of the units on whose part of a list somebody stands who is to go."""
    import polars as pl

    stems: set[str] = set()
    with suppress(_unreadable()):  # told where the table is rewritten
        if (folder / ROWS).exists():
            rows = pl.read_parquet(folder / ROWS, columns=["unit_id", "person_id"])
            leaving = _ids_gone(folder / ROWS, gone)
            stems = {file_name_of(unit) for unit in rows.filter(pl.col("person_id").is_in(leaving))["unit_id"].unique()}
    for path in sorted(folder.glob(f"*.{ROWS}")):
        with in_spite_of_damage(path):
            stems |= {path.name.removesuffix(f".{ROWS}")} if _ids_gone(path, gone) else set()
    return sorted(path for path in folder.iterdir() if path.name.partition(".")[0] in stems and path.name != ROWS)


def _rewrite(path: Path, gone: Gone) -> bool:
    """Write a table again without those who are to go; its date stays, for retention counts by it."""
    import polars as pl

    leaving = _ids_gone(path, gone) if path.exists() else []
    if not leaving:
        return False
    dates, content = path.stat(), BytesIO()
    pl.read_parquet(path).filter(~pl.col("person_id").is_in(leaving)).write_parquet(content)
    write_whole(path, content.getvalue())
    os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))
    return True


def _ids_gone(path: Path, gone: Gone) -> list[str]:
    """Of the ids of a Parquet file, those who are to go."""
    import polars as pl

    names = [name for name in _ID_COLUMNS if name in pl.read_parquet_schema(path)]
    ids = sorted({one for name in names for one in pl.read_parquet(path, columns=[name])[name].drop_nulls()})
    return [one for one, goes in zip(ids, gone(ids), strict=True) if goes]


def _others(home: Home) -> Iterator[Path]:
    """Files that no known part of the home has written; cities are left alone."""
    for top in sorted(home.root.iterdir()):
        if top.name in _WITHOUT_PERSONS | _TREATED or _DATABASE.fullmatch(top.name) or top.name.endswith(".lock"):
            continue
        if top.is_file():
            yield top
            continue
        cities = {path.parent for name in _CITY for path in top.rglob(name)}
        for path in sorted(top.rglob("*")):
            if path.is_file() and not path.name.endswith(".lock") and cities.isdisjoint((path.parent, *path.parents)):
                yield path


def _unreadable() -> type[Exception]:
    import polars as pl

    return pl.exceptions.PolarsError


def _texts_of_table(path: Path) -> set[str]:
    import polars as pl

    return {text for column in pl.read_parquet(path).iter_columns() for text in _texts_of_column(column)}


def _texts_of_column(column: pl.Series) -> Iterator[str]:
    """Every text of a column, also inside lists and structs."""
    import polars as pl

    if isinstance(column.dtype, pl.List | pl.Array):
        yield from _texts_of_column(column.explode().drop_nulls())
    elif isinstance(column.dtype, pl.Struct):
        for name in column.struct.fields:
            yield from _texts_of_column(column.struct.field(name))
    elif column.dtype in (pl.String, pl.Categorical):
        yield from column.cast(pl.String).drop_nulls().unique()


def _texts_of_json(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from {value, *_words(value.encode("utf-8", "surrogatepass"))}
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _texts_of_json(key)
            yield from _texts_of_json(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts_of_json(part)


def _words(content: bytes) -> set[str]:
    found = _TOKEN.findall(content.decode("utf-8", "replace"))
    return {*found, *(word.strip(_AROUND) for word in found)}


def _any_gone(texts: Iterable[str], gone: Gone) -> bool:
    return any(gone(sorted(set(texts))))
