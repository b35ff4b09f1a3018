"""Runs migrations on the connection that the ledger hands over. Belongs here: nothing else."""

from alembic import context

from pipelines.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
