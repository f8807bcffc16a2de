"""What a column of a block of persons reads, as digests: the same content, and only that, has the same digest.

An event counts from the first as-of date that could see it (it had happened, and was known, before that midnight), so
what comes in later leaves the digests of older dates alone. The knowledge date itself is left out: it decides whether
a date sees an event, and nothing else. Hashes of events are *added up*, so that the order in which they arrive and
stand cannot matter, and two equal events count twice.

Collisions. Two sums of independent 64-bit hashes modulo 2^64 and the number of events are compared. Two different sets
of events agree by accident with a probability near 2^-128 (2^-64 for each sum); a city that compares a billion pairs
of contents in its life runs a risk of 10^-29. The hashes are keyed by a secret of the home (SipHash-2-4 of the
person's id goes into each), so nobody without it can prepare events that collide. A person is known by 128 bits of a
keyed hash of the id, never by the place in the log, which moves when persons are added.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.arrays import frozen
from features.city import City, matches
from features.content_kernels import sip_hashes, visible_sums
from features.spec import FeatureSpec

_LONG_AGO = np.iinfo(np.int64).min
_BIRTH_DATE = "birth_date"
_NULL_TEXT = "\x00null"
_FACT_COLUMNS = {
    "person": pl.UInt32(),
    "time": pl.Int64(),
    "known": pl.Int64(),
    "slot": pl.UInt16(),
    "text": pl.String(),
}


def keyed_hashes(texts: pl.Series, secret: bytes, *purposes: str) -> NDArray[np.uint64]:
    """SipHash-2-4 of each text under a key made of the secret for each purpose: uint64 (n, n_purposes)."""
    lengths = texts.str.len_bytes().to_numpy().astype(np.int64)
    offsets = frozen(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    data = frozen(np.frombuffer("".join(texts.to_list()).encode(), dtype=np.uint8))
    hashes = np.empty((len(purposes), len(texts)), dtype=np.uint64)
    for purpose, out in zip(purposes, hashes, strict=True):
        key = np.frombuffer(hmac.digest(secret, purpose.encode(), "sha256")[:16], dtype="<u8").astype(np.uint64)
        sip_hashes(data, offsets, frozen(key), out)
    return hashes.T


def person_keys(person_ids: pl.Series, secret: bytes) -> NDArray[np.uint64]:
    """128 bits by which the cache knows each person: uint64 (n, 2); without the secret no id leads to them."""
    return np.ascontiguousarray(keyed_hashes(person_ids, secret, "person 1", "person 2"))


class _Read(NamedTuple):
    """Where a feature's content stands: what kind of thing it reads, and the slots of its codes."""

    kind: str
    is_fact: bool
    slots: NDArray[np.int64]


class BlockContent(NamedTuple):
    """Sums of what the dates of one block see: uint64 (n_dates + 1, n_slots, 3), of events and of attributes."""

    events: NDArray[np.uint64]
    facts: NDArray[np.uint64]


class Contents:
    """Digests of what features read of a city, block by block.

    Parameters
    ----------
    city : City
    features : sequence of FeatureSpec
        Of the person's own events, or attributes.
    secret : bytes
    keys : uint64 (n_persons, 2)
        From :func:`person_keys`, in the order of the city's persons.
    """

    def __init__(self, city: City, features: Sequence[FeatureSpec], secret: bytes, keys: NDArray[np.uint64]) -> None:
        log = city.events
        self._keys = frozen(keys)
        self._log = log
        self._known = None if log.known is None else frozen(log.known)
        read = sorted({code for code in log.codes for f in features if not f.attribute and matches(code, f.codes)})
        self._codes = tuple(read)
        place = {code: slot for slot, code in enumerate(read)}
        self._slot_of = frozen(np.array([place.get(code, -1) for code in log.codes], dtype=np.int32))
        self._facts = _facts(city, sorted({f.attribute for f in features if f.attribute}), secret)
        names = (*self._codes, *self._facts.names)
        # The name of a code or attribute as two numbers beside its sums.
        hashed = [hashlib.sha256(name.encode()).digest()[:16] for name in names]
        self._named = np.frombuffer(b"".join(hashed), dtype="<u8").reshape(-1, 2)
        self._reads = [self._read(city, feature) for feature in features]

    def _read(self, city: City, feature: FeatureSpec) -> _Read:
        if feature.attribute is None:
            slots = [slot for slot, code in enumerate(self._codes) if matches(code, feature.codes)]
            return _Read("events", False, np.array(slots, dtype=np.int64))
        slot = self._facts.names.index(feature.attribute)
        return _Read(_kept_in(city, feature.attribute), True, np.array([slot], dtype=np.int64))

    def of_block(
        self, persons: NDArray[np.uint32], present: NDArray[np.uint8], as_of: NDArray[np.int64]
    ) -> BlockContent:
        """What each date sees of some persons; ``present`` (n, n_dates) says who is looked at when."""
        log, facts = self._log, self._facts
        events = np.zeros((as_of.size + 1, len(self._codes), 3), dtype=np.uint64)
        held = np.zeros((as_of.size + 1, len(facts.names), 3), dtype=np.uint64)
        who = (self._keys, frozen(persons), frozen(present), frozen(as_of))
        if self._codes:
            arrays = (frozen(log.time), self._known, frozen(log.code), frozen(log.value.view(np.uint32)))
            visible_sums(*arrays, True, frozen(log.offsets), *who, self._slot_of, events)
        if facts.names:
            slot_of = frozen(np.arange(len(facts.names), dtype=np.int32))
            visible_sums(facts.time, facts.known, facts.slot, facts.word, False, facts.offsets, *who, slot_of, held)
        return BlockContent(events, held)

    def digest(self, block: BlockContent, feature: int, date_index: int) -> bytes:
        """SHA-256 of what a feature reads of a block at a date: its codes that occur, each with its sums."""
        read = self._reads[feature]
        sums = (block.facts if read.is_fact else block.events)[date_index, read.slots]
        occurs = sums[:, 2] > 0
        slots = read.slots[occurs] + (len(self._codes) if read.is_fact else 0)
        told = np.concatenate([self._named[slots], sums[occurs].astype("<u8")], axis=1)
        return hashlib.sha256(read.kind.encode() + b"\x00" + told.astype("<u8").tobytes()).digest()

    def parts(self, block: BlockContent, feature: int, date_index: int) -> Mapping[str, str]:
        """Code (or attribute) → short digest of its events at a date, to tell afterwards which of them changed."""
        read = self._reads[feature]
        sums = (block.facts if read.is_fact else block.events)[date_index]
        names = self._facts.names if read.is_fact else self._codes
        return {names[slot]: f"{sums[slot, 0]:016x}" for slot in read.slots.tolist() if sums[slot, 2] > 0}


class _Facts(NamedTuple):
    """What the city holds for attributes, grouped by person like events; a fixed one has always been known."""

    names: tuple[str, ...]
    offsets: Any
    time: Any
    known: Any
    slot: Any
    word: Any


def _kept_in(city: City, attribute: str) -> str:
    """Where the city keeps an attribute, which a digest includes: a city without it is refused, not served."""
    if attribute == "age":
        return _BIRTH_DATE if _BIRTH_DATE in city.persons.columns else "nowhere"
    if attribute in city.fixed:
        return "persons"
    return "history" if city.history is not None and attribute in city.history["attribute"] else "nowhere"


def _facts(city: City, attributes: Sequence[str], secret: bytes) -> _Facts:
    """Each value of the attributes as one row: from when, known when, and a hash of what is held and when known."""
    found = [_rows_of(city, attribute, slot) for slot, attribute in enumerate(attributes)]
    empty = pl.DataFrame(schema=_FACT_COLUMNS)
    rows = pl.concat([empty, *found]).sort("person", "time", maintain_order=True)
    counts = np.bincount(rows["person"].to_numpy(), minlength=len(city.events.person_ids))
    return _Facts(
        tuple(attributes),
        frozen(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)),
        frozen(rows["time"].to_numpy()),
        frozen(rows["known"].to_numpy()),
        frozen(rows["slot"].to_numpy()),
        frozen(keyed_hashes(rows["text"], secret, "attribute")[:, 0]),
    )


def _rows_of(city: City, attribute: str, slot: int) -> pl.DataFrame:
    place = _kept_in(city, attribute)
    if place == "nowhere":
        return pl.DataFrame(schema=_FACT_COLUMNS)
    always = pl.lit(_LONG_AGO, dtype=pl.Int64)
    if place == "history":
        assert city.history is not None
        rows = city.history.filter(pl.col("attribute") == attribute)
        everyone = pl.DataFrame({"person_id": city.events.person_ids}).with_row_index("person")
        rows = rows.join(everyone, on="person_id", how="inner", maintain_order="left")
        time, known = (pl.col(name).dt.timestamp("us") for name in ("from_date", "knowledge_date"))
        # Of two values from one day the one that was known last is held: here the knowledge date does tell.
        text = pl.concat_str(known.cast(pl.String), pl.lit(" "), pl.col("value").fill_null(_NULL_TEXT))
    else:
        name = _BIRTH_DATE if place == _BIRTH_DATE else attribute
        rows = city.persons.with_row_index("person")
        time, known, text = always, always, pl.col(name).cast(pl.String).fill_null(_NULL_TEXT)
    columns = {"person": pl.col("person"), "time": time, "known": known, "slot": pl.lit(slot), "text": text}
    return rows.select(columns[name].cast(dtype).alias(name) for name, dtype in _FACT_COLUMNS.items())
