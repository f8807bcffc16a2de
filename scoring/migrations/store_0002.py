"""What the lots did to a row stands in columns of its own, which erasure leaves."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns, and fill them from the payloads.

    Of rows that erasure has emptied the rest of the list tells: a list draws its sample with one probability, and who
    was held out stands after all whom the unit was to contact.
    """
    op.add_column("store_list_rows", sa.Column("probability", sa.Float(53)))
    op.add_column("store_list_rows", sa.Column("is_held_out", sa.Boolean(), nullable=False, server_default=sa.false()))
    connection = op.get_bind()
    table = sa.table(
        "store_list_rows",
        *map(sa.column, ("list_id", "unit_id", "position", "kind", "payload", "probability", "is_held_out")),
    )
    lists = sa.table("store_lists", sa.column("list_id"), sa.column("facts"))
    by_lot = sa.select(table).where(table.c.kind.in_(("sample", "margin")))
    rows = connection.execute(by_lot).all()
    sampled, listed = {}, {}
    for row in rows:
        if row.kind == "sample" and row.payload is not None:
            sampled[row.list_id] = json.loads(row.payload).get("sample", {}).get("probability")
    for list_id, facts in connection.execute(sa.select(lists)):
        for unit in json.loads(facts)["units"]:
            listed[list_id, unit["unit_id"]] = unit.get("listed")
    for row in rows:
        if row.payload is not None:
            lot = json.loads(row.payload).get(row.kind, {})
        elif row.kind == "sample":
            lot = {"probability": sampled.get(row.list_id)}
        else:
            lot = {"listed": row.position <= (listed.get((row.list_id, row.unit_id)) or 0)}
        key = (table.c[name] == getattr(row, name) for name in ("list_id", "unit_id", "position"))
        probability = float(lot["probability"]) if lot.get("probability") else None
        held_out = not lot.get("listed", True)
        connection.execute(sa.update(table).where(*key).values(probability=probability, is_held_out=held_out))
