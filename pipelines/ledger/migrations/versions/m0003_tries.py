"""How often a run was started, and which process does it."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("starts", sa.Column("tries", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("starts", sa.Column("runner", sa.String(length=200), nullable=False, server_default=""))
