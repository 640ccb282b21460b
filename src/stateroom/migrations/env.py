"""Alembic runs this file. It runs the migrations on the connection that it gets from us."""

from alembic import context

from stateroom.database import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
