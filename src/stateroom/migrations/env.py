"""Alembic runs this file, which runs the migrations on the connection that `migrations.upgrade` passes to it."""

from alembic import context

from stateroom.database import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
