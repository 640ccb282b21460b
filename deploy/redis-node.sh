#!/bin/sh
# The entry point of the containers for servers and Sentinels. It uses the programs of Redis or Valkey in the image.
#
#   redis-node.sh server            run a server, as primary or replica: see `choose_primary`
#   redis-node.sh sentinel          run a Sentinel, with a writable copy of sentinel.conf
#   redis-node.sh healthy-server    whether the server in this container replies, and has loaded its data
#   redis-node.sh ask WORD ...      send a command to the Sentinel in this container
#
# Input: NODE_NAME (the name of this container for the others), SENTINELS, and the files under /stateroom and
# /run/secrets.
set -eu

DATA=/data
MASTER_NAME=${MASTER_NAME:-mymaster}
FIRST_PRIMARY=${FIRST_PRIMARY:-redis-0}
# Sentinels that have run for less than this have not had the time to see a server as down.
YOUNG_SECONDS=10
# The longest wait for the Sentinels to name another primary: six times down-after. Without a majority they never do.
PATIENCE_SECONDS=30

first_of() {
  for name in "$@"; do
    if command -v "$name"; then return; fi
  done
  echo "redis-node: this image has none of: $*" >&2
  exit 1
}

server=$(first_of valkey-server redis-server)
cli=$(first_of valkey-cli redis-cli)

say() { echo "redis-node: $*" >&2; }

# Prints what the Sentinel on a host knows: epoch of the configuration, primary, number of replicas, its age in seconds.
sentinel_view() {
  age=$(timeout 2 "$cli" -h "$1" -p 26379 info server 2>/dev/null | sed -n 's/^uptime_in_seconds:\([0-9]*\).*/\1/p')
  [ -n "$age" ] || return 0
  timeout 2 "$cli" -h "$1" -p 26379 sentinel master "$MASTER_NAME" 2>/dev/null |
    awk -v age="$age" 'NR % 2 { key = $0; next } { of[key] = $0 }
      END { if (of["ip"] != "") print of["config-epoch"], of["ip"], of["num-slaves"], age }'
}

# Prints the reply with the highest epoch. An isolated Sentinel still names the old primary, with a lower epoch.
newest_view() {
  for host in $SENTINELS; do sentinel_view "$host"; done | sort -rn | head -n 1
}

# Prints the primary when this server last ran. Sentinels make a server rewrite its file when they change its role.
remembered_primary() {
  if [ ! -s "$DATA/server.conf" ]; then
    echo "$FIRST_PRIMARY"
  else
    named=$(sed -n 's/^replicaof "\{0,1\}\([^ "]*\).*/\1/p' "$DATA/server.conf" | head -n 1)
    echo "${named:-$NODE_NAME}"
  fi
}

# Prints the name of the primary. The Sentinels know it. If no Sentinel replies, it is the primary of this server's last
# run, and at the very first startup FIRST_PRIMARY.
#
# If the Sentinels still name this server as primary, it died and restarted within their down-after. Then it does not
# become the primary again, but waits until they name another. So a restart never races with a failover, which could make
# two primaries for a moment. And a server that lost its disk never empties its replicas. This costs one failover per
# crash. If the whole stack was stopped, the Sentinels have just started too, and there is nothing to wait for.
choose_primary() {
  waited=0
  while :; do
    # shellcheck disable=SC2046  # four words
    set -- $(newest_view)
    if [ $# -ne 4 ]; then
      remembered_primary
      return
    fi
    if [ "$2" != "$NODE_NAME" ] || [ "$4" -lt "$YOUNG_SECONDS" ]; then
      echo "$2"
      return
    fi
    if [ -e "$DATA/appendonlydir" ] || [ "$3" -eq 0 ]; then
      if [ "$waited" -ge "$PATIENCE_SECONDS" ]; then
        say "still the primary after $waited s: the Sentinels name no other"
        echo "$2"
        return
      fi
    elif [ $((waited % 10)) -eq 0 ]; then
      say "named primary, but without data: waiting for the Sentinels to name a replica"
    fi
    sleep 1
    waited=$((waited + 1))
  done
}

run_server() {
  primary=$(choose_primary)
  umask 077
  {
    cat /stateroom/redis.conf
    echo "dir $DATA"
    echo "aclfile /run/secrets/users.acl"
    echo "masterauth $(cat /run/secrets/redis_replica_password)"
    echo "replica-announce-ip $NODE_NAME"
    if [ "$primary" != "$NODE_NAME" ]; then echo "replicaof $primary 6379"; fi
  } > "$DATA/server.conf.new"
  mv "$DATA/server.conf.new" "$DATA/server.conf"
  say "starting, primary: $primary"
  exec "$server" "$DATA/server.conf"
}

ping_server() {
  REDISCLI_AUTH=$(cat "/run/secrets/redis_$2_password") timeout 2 "$cli" -h "$1" --user "$2" ping 2>/dev/null | grep -q PONG
}

# The copy is made once: a Sentinel writes its state into it, and needs that state after a restart.
run_sentinel() {
  umask 077
  if [ ! -s "$DATA/sentinel.conf" ]; then
    # Wait for the primary. Otherwise the Sentinel would begin by seeing it as down.
    until ping_server "$FIRST_PRIMARY" sentinel; do sleep 1; done
    {
      cat /stateroom/sentinel.conf
      echo "dir $DATA"
      echo "sentinel auth-pass $MASTER_NAME $(cat /run/secrets/redis_sentinel_password)"
      echo "sentinel announce-ip $NODE_NAME"
      echo "sentinel announce-port 26379"
    } > "$DATA/sentinel.conf.new"
    mv "$DATA/sentinel.conf.new" "$DATA/sentinel.conf"
  fi
  exec "$server" "$DATA/sentinel.conf" --sentinel
}

case ${1:-} in
  server) run_server ;;
  sentinel) run_sentinel ;;
  healthy-server) ping_server 127.0.0.1 replica ;;
  ask)
    shift
    exec timeout 5 "$cli" -p 26379 "$@"
    ;;
  *)
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p;}' "$0" >&2
    exit 2
    ;;
esac
