"""What Alembic runs: the migrations, in the transaction of the connection that `perfguard.history.database` gives."""

from __future__ import annotations

from alembic import context

from perfguard.history.schema import VERSION_TABLE, metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, version_table=VERSION_TABLE, transactional_ddl=True)
context.run_migrations()
