#!/bin/sh
# What the official image's entrypoint does, as far as the stack needs it: a database and its owner, then the server.
set -eu

data=/var/lib/postgresql/data
bin=$(echo /usr/lib/postgresql/*/bin)

if [ ! -s "$data/PG_VERSION" ]; then
  "$bin/initdb" --pgdata "$data" --username "$POSTGRES_USER" --pwfile "$POSTGRES_PASSWORD_FILE" \
    --auth-local trust --auth-host scram-sha-256 --encoding UTF8
  echo "host all all all scram-sha-256" >> "$data/pg_hba.conf"
  "$bin/pg_ctl" --pgdata "$data" --wait --options "-c listen_addresses=''" start
  # The owner's own database, named as the owner is, is the one that is asked for.
  "$bin/createdb" --username "$POSTGRES_USER" "$POSTGRES_DB"
  "$bin/pg_ctl" --pgdata "$data" --wait stop
fi
exec "$bin/postgres" -D "$data" -c listen_addresses='*'
