"""The first table of whole-cohort jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the table and its index."""
    op.create_table(
        "score_jobs",
        sa.Column("job_id", sa.String(32), primary_key=True),
        sa.Column("need_id", sa.String(200), nullable=False),
        sa.Column("as_of_date", sa.String(10), nullable=False),
        sa.Column("asked_by", sa.String(64), nullable=False),
        sa.Column("asked_at", sa.String(40), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("doing", sa.String(40), nullable=False),
        sa.Column("progress", sa.Float, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("n", sa.Integer),
        sa.Column("faults", sa.Text),
        sa.Column("model_digest", sa.String(64)),
        sa.Column("verdict_id", sa.String(100)),
        sa.Column("masking", sa.String(200)),
        sa.Column("ended_at", sa.String(40)),
    )
    op.create_index("score_jobs_by_state", "score_jobs", ["state", "asked_at"])
