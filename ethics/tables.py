"""Making a room's tables where they are missing, also when several processes begin at once."""

from __future__ import annotations

from sqlalchemy import Engine, MetaData
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.schema import CreateTable

_ATTEMPTS = 5


def make_tables(engine: Engine, metadata: MetaData) -> None:
    """Create the tables of ``metadata`` that the database does not have yet; the database itself decides, in one step.

    Asking first and creating then would let two beginners both find nothing. PostgreSQL may still report the loser of
    such a race as a duplicate in its catalogue; by the next attempt the winner's table is there.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with engine.begin() as connection:
                for table in metadata.sorted_tables:
                    connection.execute(CreateTable(table, if_not_exists=True))
            return
        except (IntegrityError, ProgrammingError):
            if attempt == _ATTEMPTS:
                raise
