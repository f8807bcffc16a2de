"""The one store of outreach: people, scores, lists, views, attempts, outcomes and exports, in SQLite or PostgreSQL.

Everything is only ever added to. The one exception is erasure: stored rows hold HMAC(person salt, person_id) alone,
and erasing a person deletes the salt and empties what the rows show (contracts.md §7).
"""

from __future__ import annotations

from scoring.event_rows import OUTCOME_CODES
from scoring.store_events import StoredEvents
from scoring.store_forgetting import Erasure
from scoring.store_lists import KINDS, Export, ListProof
from scoring.store_people import StoreKeys
from scoring.store_retention import StoredAges
from scoring.store_scores import StoredScores
from scoring.store_units import StoredUnits

__all__ = ["KINDS", "OUTCOMES", "Erasure", "Export", "ListProof", "Store", "StoreKeys"]

OUTCOMES = OUTCOME_CODES
"""What can come of an attempt."""


class Store(StoredScores, StoredEvents, StoredUnits, StoredAges):
    """The store of one home.

    Parameters
    ----------
    engine : sqlalchemy.Engine
        Its tables are made, or brought up to date, under a lock; other tables of the database are left alone.
    keys : StoreKeys
        The home's secrets ``people`` and ``tombstones``.
    tombstones : Path, optional
        A file outside the database that keeps the tombstones too, so that a restored backup forgets whom it should.

    Raises
    ------
    NotTrusted
        A later Ennakko made the tables, the keys are not those the store was begun with, or the tombstone file is
        damaged.

    Examples
    --------
    >>> from sqlalchemy import create_engine
    >>> store = Store(create_engine("sqlite://"), StoreKeys(b"sixteen bytes ok", b"sixteen bytes too"))
    >>> ref = store.refer(["000123"])["000123"]
    >>> store.people([ref])
    {...: '000123'}
    >>> erasure = store.erase("000123")
    >>> store.people([ref]), store.is_erased(["000122", "000123"]).tolist()
    ({}, [False, True])
    """
