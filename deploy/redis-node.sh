#!/bin/sh
# What the containers of servers and Sentinels run, with the programs of Redis or of Valkey, whichever the image has.
#
#   redis-node.sh server            a server, as primary or replica: see `choose_primary`
#   redis-node.sh sentinel          a Sentinel, on a writable copy of sentinel.conf
#   redis-node.sh healthy-server    whether the server here answers, and has read its data
#   redis-node.sh ask WORD ...      ask the Sentinel here
#
# From outside come NODE_NAME, by which the others reach this container, SENTINELS, and the files under /stateroom and
# /run/secrets.
set -eu

DATA=/data
MASTER_NAME=${MASTER_NAME:-mymaster}
FIRST_PRIMARY=${FIRST_PRIMARY:-redis-0}
# Sentinels that started later than this ago have not yet had the time to find anybody dead.
YOUNG_SECONDS=10
# Longest wait for the Sentinels to name another: six times down-after. With most of them away they never will.
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

# What the Sentinel on a host knows, on one line: epoch of the configuration, primary, replicas, its own age in seconds.
sentinel_view() {
  age=$(timeout 2 "$cli" -h "$1" -p 26379 info server 2>/dev/null | sed -n 's/^uptime_in_seconds:\([0-9]*\).*/\1/p')
  [ -n "$age" ] || return 0
  timeout 2 "$cli" -h "$1" -p 26379 sentinel master "$MASTER_NAME" 2>/dev/null |
    awk -v age="$age" 'NR % 2 { key = $0; next } { of[key] = $0 }
      END { if (of["ip"] != "") print of["config-epoch"], of["ip"], of["num-slaves"], age }'
}

# The newest of what they know. An isolated Sentinel still names the old primary, with an older epoch.
newest_view() {
  for host in $SENTINELS; do sentinel_view "$host"; done | sort -rn | head -n 1
}

# What the server was when it last ran. Sentinels have it rewrite its file when they change that.
remembered_primary() {
  if [ ! -s "$DATA/server.conf" ]; then
    echo "$FIRST_PRIMARY"
  else
    named=$(sed -n 's/^replicaof "\{0,1\}\([^ "]*\).*/\1/p' "$DATA/server.conf" | head -n 1)
    echo "${named:-$NODE_NAME}"
  fi
}

# Prints who is to be the primary. The Sentinels know; where none answers, what this server was before counts, and at
# the very first FIRST_PRIMARY.
#
# A server that comes back and is still named primary by them died and returned within their down-after. It does not
# take up its part again: it waits until they have named another. So a restart policy never races with a failover, with
# two primaries for a moment, and a server that lost its disk never makes its replicas throw their data away. The price
# is a failover for each crash. Where all have been stopped there is nothing to wait for: then the Sentinels are young.
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

# The copy is made once: a Sentinel writes into it what it learns, and must know that again when it comes back.
run_sentinel() {
  umask 077
  if [ ! -s "$DATA/sentinel.conf" ]; then
    # Its first look at a primary that is not there yet would begin with finding it dead.
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
