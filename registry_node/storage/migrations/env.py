"""alembic's entry: the caller hands over the connection, already in its transaction."""

from alembic import context

from registry_node.storage.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=False)
context.run_migrations()
