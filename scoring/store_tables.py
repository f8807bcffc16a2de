"""The tables of the store, as the code expects them; :mod:`scoring.migrations` brings a database there.

Apart from ``store_people`` no table says who somebody is: the others hold ``person_ref`` =
HMAC-SHA256(the person's salt, person_id), which nobody can form again once the salt is gone.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table, Text, false

VERSION_TABLE = "store_version"
HEAD = "0002"
"""The migration that makes these tables; the code refuses what a later one has made."""

METADATA = MetaData()


def _ref(*, is_key: bool = False, is_optional: bool = False) -> Column[bytes]:
    return Column("person_ref", LargeBinary(32), primary_key=is_key, nullable=is_optional)


KEYS = Table(
    "store_keys",
    METADATA,
    Column("name", String(20), primary_key=True),
    Column("check_value", String(64), nullable=False),
)
"""A check value of each key the store was begun with."""

PEOPLE = Table(
    "store_people",
    METADATA,
    Column("lookup", LargeBinary(32), primary_key=True),
    Column("salt", LargeBinary(16), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("person_ref", LargeBinary(32), nullable=False),
    Index("store_people_by_ref", "person_ref", unique=True),
    sqlite_with_rowid=False,
)
"""``lookup`` = HMAC(people key, person_id); ``sealed`` = the id, encrypted. Erasure deletes the row."""

TOMBSTONES = Table(
    "store_tombstones",
    METADATA,
    Column("mark", String(64), primary_key=True),
    Column("at", String(40), nullable=False),
    Column("wiped_at", String(40)),
)
"""HMAC(tombstone key, person_id) of the erased; ``wiped_at`` when the database's free space was cleared of them."""

BATCHES = Table(
    "store_score_batches",
    METADATA,
    Column("batch", Integer, primary_key=True),
    Column("batch_id", String(64), nullable=False, unique=True),
    Column("need_id", String(200), nullable=False),
    Column("as_of_date", String(10), nullable=False),
    Column("model_digest", String(64), nullable=False),
    Column("verdict_id", String(100), nullable=False),
    Column("n", Integer, nullable=False),
    Column("at", String(40), nullable=False),
    Index("store_score_batches_by_need", "need_id", "as_of_date"),
)

SCORES = Table(
    "store_scores",
    METADATA,
    Column("batch", Integer, primary_key=True, autoincrement=False),
    _ref(is_key=True),
    Column("score", Float(53)),
    Column("rank", Integer),
    Column("rank_band", String(20)),
    sqlite_with_rowid=False,
)
"""Within a batch in order of ``person_ref``: a batch is appended at the table's end, and one person's score in it is
found by the key."""

LISTS = Table(
    "store_lists",
    METADATA,
    Column("list_id", String(40), primary_key=True),
    Column("need_id", String(200), nullable=False),
    Column("as_of_date", String(10), nullable=False),
    Column("period", String(40), nullable=False),
    Column("n", Integer, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("facts", Text, nullable=False),
    Column("said", Text, nullable=False),
    Column("published_at", String(40), nullable=False),
    Index("store_lists_by_need", "need_id", "as_of_date"),
)
"""``said`` is what ``digest`` is the SHA-256 of: counts and row hashes, no person."""

ROWS = Table(
    "store_list_rows",
    METADATA,
    Column("list_id", String(40), primary_key=True),
    Column("unit_id", String(200), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(20), nullable=False),
    _ref(),
    Column("rank_band", String(20)),
    Column("payload", Text),
    Column("row_hash", String(64), nullable=False),
    Column("probability", Float(53)),
    Column("is_held_out", Boolean, nullable=False, server_default=false()),
    Index("store_list_rows_once", "list_id", "person_ref", unique=True),
    Index("store_list_rows_by_person", "person_ref"),
)
"""``probability`` and ``is_held_out`` are what the payload says of a lot (:func:`scoring.row_hashes.lot_of`), kept
apart from it: a sample from which the erased drop out, or weigh nothing, would tell another share of need."""

CHANGES = Table(
    "store_list_changes",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("list_id", String(40), nullable=False),
    Column("unit_id", String(200), nullable=False),
    _ref(),
    Column("act", String(20), nullable=False),
    Column("by", String(200), nullable=False),
    Column("reason", Text),
    Column("worker", String(200)),
    Column("at", String(40), nullable=False),
    Index("store_list_changes_by_list", "list_id"),
    Index("store_list_changes_by_person", "person_ref"),
)

VIEWS = Table(
    "store_list_views",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("list_id", String(40)),
    Column("unit_id", String(200)),
    _ref(is_optional=True),
    Column("actor", String(200), nullable=False),
    Column("purpose", Text, nullable=False),
    Column("at", String(40), nullable=False),
    Index("store_list_views_by_list", "list_id", "unit_id"),
    Index("store_list_views_by_person", "person_ref"),
)

ATTEMPTS = Table(
    "store_attempts",
    METADATA,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("list_id", String(40)),
    _ref(),
    Column("at", String(40), nullable=False),
    Column("channel", Text),
    Column("worker", Text),
    Column("result", Text),
    Column("source", Text),
    Column("added_at", String(40), nullable=False),
    Index("store_attempts_by_list", "list_id"),
    Index("store_attempts_by_person", "person_ref"),
)

OUTCOMES = Table(
    "store_outcomes",
    METADATA,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("list_id", String(40)),
    _ref(),
    Column("at", String(40), nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("source", Text),
    Column("added_at", String(40), nullable=False),
    Index("store_outcomes_by_list", "list_id"),
    Index("store_outcomes_by_person", "person_ref"),
)

EXPORTS = Table(
    "store_exports",
    METADATA,
    Column("list_id", String(40), primary_key=True),
    Column("file", String(500), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("unit_id", String(200)),
    Column("at", String(40), nullable=False),
)

RECALLS = Table(
    "store_recalls",
    METADATA,
    Column("list_id", String(40), primary_key=True),
    Column("file", String(500), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    _ref(is_key=True),
    Column("why", Text),
    Column("at", String(40), nullable=False),
)

FORGOTTEN_COLUMNS = {
    SCORES: ("score", "rank", "rank_band"),
    ROWS: ("payload",),
    CHANGES: ("reason", "worker"),
    ATTEMPTS: ("worker", "result", "source"),
    OUTCOMES: ("source",),
    RECALLS: ("why",),
}
"""What erasure empties in the rows of a person. Counts, dates, kinds, lots, outcomes stay: they are nobody's then."""
