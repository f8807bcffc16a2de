"""The first tables of the store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table and index."""
    op.create_table(
        "store_attempts",
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("list_id", sa.String(40)),
        sa.Column("person_ref", sa.LargeBinary(32), nullable=False),
        sa.Column("at", sa.String(40), nullable=False),
        sa.Column("channel", sa.Text()),
        sa.Column("worker", sa.Text()),
        sa.Column("result", sa.Text()),
        sa.Column("source", sa.Text()),
        sa.Column("added_at", sa.String(40), nullable=False),
    )
    op.create_index("store_attempts_by_list", "store_attempts", ["list_id"])
    op.create_index("store_attempts_by_person", "store_attempts", ["person_ref"])
    op.create_table(
        "store_exports",
        sa.Column("list_id", sa.String(40), primary_key=True),
        sa.Column("file", sa.String(500), primary_key=True),
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("unit_id", sa.String(200)),
        sa.Column("at", sa.String(40), nullable=False),
    )
    op.create_table(
        "store_keys",
        sa.Column("name", sa.String(20), primary_key=True),
        sa.Column("check_value", sa.String(64), nullable=False),
    )
    op.create_table(
        "store_list_changes",
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("list_id", sa.String(40), nullable=False),
        sa.Column("unit_id", sa.String(200), nullable=False),
        sa.Column("person_ref", sa.LargeBinary(32), nullable=False),
        sa.Column("act", sa.String(20), nullable=False),
        sa.Column("by", sa.String(200), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("worker", sa.String(200)),
        sa.Column("at", sa.String(40), nullable=False),
    )
    op.create_index("store_list_changes_by_list", "store_list_changes", ["list_id"])
    op.create_index("store_list_changes_by_person", "store_list_changes", ["person_ref"])
    op.create_table(
        "store_list_rows",
        sa.Column("list_id", sa.String(40), primary_key=True),
        sa.Column("unit_id", sa.String(200), primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("person_ref", sa.LargeBinary(32), nullable=False),
        sa.Column("rank_band", sa.String(20)),
        sa.Column("payload", sa.Text()),
        sa.Column("row_hash", sa.String(64), nullable=False),
    )
    op.create_index("store_list_rows_by_person", "store_list_rows", ["person_ref"])
    op.create_index("store_list_rows_once", "store_list_rows", ["list_id", "person_ref"], unique=True)
    op.create_table(
        "store_list_views",
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("list_id", sa.String(40)),
        sa.Column("unit_id", sa.String(200)),
        sa.Column("person_ref", sa.LargeBinary(32)),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("at", sa.String(40), nullable=False),
    )
    op.create_index("store_list_views_by_list", "store_list_views", ["list_id", "unit_id"])
    op.create_index("store_list_views_by_person", "store_list_views", ["person_ref"])
    op.create_table(
        "store_lists",
        sa.Column("list_id", sa.String(40), primary_key=True),
        sa.Column("need_id", sa.String(200), nullable=False),
        sa.Column("as_of_date", sa.String(10), nullable=False),
        sa.Column("period", sa.String(40), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.Column("published_at", sa.String(40), nullable=False),
    )
    op.create_index("store_lists_by_need", "store_lists", ["need_id", "as_of_date"])
    op.create_table(
        "store_outcomes",
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("list_id", sa.String(40)),
        sa.Column("person_ref", sa.LargeBinary(32), nullable=False),
        sa.Column("at", sa.String(40), nullable=False),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("source", sa.Text()),
        sa.Column("added_at", sa.String(40), nullable=False),
    )
    op.create_index("store_outcomes_by_list", "store_outcomes", ["list_id"])
    op.create_index("store_outcomes_by_person", "store_outcomes", ["person_ref"])
    op.create_table(
        "store_people",
        sa.Column("lookup", sa.LargeBinary(32), primary_key=True),
        sa.Column("salt", sa.LargeBinary(16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("person_ref", sa.LargeBinary(32), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("store_people_by_ref", "store_people", ["person_ref"], unique=True)
    op.create_table(
        "store_recalls",
        sa.Column("list_id", sa.String(40), primary_key=True),
        sa.Column("file", sa.String(500), primary_key=True),
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("person_ref", sa.LargeBinary(32), primary_key=True),
        sa.Column("why", sa.Text()),
        sa.Column("at", sa.String(40), nullable=False),
    )
    op.create_table(
        "store_score_batches",
        sa.Column("batch", sa.Integer(), primary_key=True),
        sa.Column("batch_id", sa.String(64), nullable=False, unique=True),
        sa.Column("need_id", sa.String(200), nullable=False),
        sa.Column("as_of_date", sa.String(10), nullable=False),
        sa.Column("model_digest", sa.String(64), nullable=False),
        sa.Column("verdict_id", sa.String(100), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("at", sa.String(40), nullable=False),
    )
    op.create_index("store_score_batches_by_need", "store_score_batches", ["need_id", "as_of_date"])
    op.create_table(
        "store_scores",
        sa.Column("batch", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("person_ref", sa.LargeBinary(32), primary_key=True),
        sa.Column("score", sa.Float(53)),
        sa.Column("rank", sa.Integer()),
        sa.Column("rank_band", sa.String(20)),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "store_tombstones",
        sa.Column("mark", sa.String(64), primary_key=True),
        sa.Column("at", sa.String(40), nullable=False),
        sa.Column("wiped_at", sa.String(40)),
    )
