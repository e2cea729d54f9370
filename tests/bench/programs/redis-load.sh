#!/bin/sh
# Loads the redis server behind the socket $1 and then ends it.
set -eu
tries=0
until redis-cli -s "$1" ping >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || exit 1
    sleep 0.05
done
redis-benchmark -s "$1" -q -n 60000 -r 50000 -d 120 -P 16 -t set,get,lpush,sadd,hset,zadd >/dev/null
redis-cli -s "$1" shutdown nosave >/dev/null 2>&1 || true
