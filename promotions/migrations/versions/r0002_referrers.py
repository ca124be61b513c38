"""Up to which rev of a source its referrers were compared with a target's."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("replicated", sa.Column("referrers_rev", sa.Integer))
