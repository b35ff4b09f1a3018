"""How a ledger of an earlier release becomes one of this release (alembic).

Belongs here: one file per change of the tables. Does not belong here: the tables as they are now.
"""
