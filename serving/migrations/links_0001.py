"""The first table of links between Helsinki Profile and people."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the table and its index."""
    op.create_table(
        "profile_links",
        sa.Column("profile", sa.LargeBinary(32), primary_key=True),
        sa.Column("person_ref", sa.LargeBinary(32), nullable=False),
        sa.Column("linked_at", sa.String(40), nullable=False),
    )
    op.create_index("profile_links_by_person", "profile_links", ["person_ref"])
