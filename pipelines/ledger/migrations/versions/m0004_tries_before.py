"""Which channel had a part before a hand-over began, and its reference there."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("events", sa.Column("channel_before", sa.String(length=40), nullable=False, server_default=""))
    op.add_column("events", sa.Column("reference_before", sa.String(length=500), nullable=False, server_default=""))
