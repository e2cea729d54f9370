#!/bin/sh
# Builds every allocator that it can, and measures them all: about forty minutes on two cores.
# Usage: tests/bench/run.sh [FOLDER FOR RESULTS]
#   ROUNDS=5         how often each case and each program runs with each allocator
#   JEMALLOC=0       leave jemalloc out, which builds for minutes
#   INSTALL=0        install nothing
set -eu
cd "$(dirname "$0")"
results=${1:-results}
rounds=${ROUNDS:-5}
target=${CARGO_TARGET_DIR:-target}

# cmake builds snmalloc; the libraries are rivals, the programs are what they are tried on.
packages="cmake g++ valgrind libjemalloc2 libtcmalloc-minimal4 python3 perl lua5.4 ruby sqlite3 z3
    ghostscript redis-server redis-tools"
missing=$(dpkg-query -W -f '' $packages 2>&1 | sed -n 's/.* matching //p')
if [ -n "$missing" ] && [ "${INSTALL:-1}" = 1 ]; then
    # A server that a package brings along must not start by itself and take processor time.
    apt-get update -q
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends $missing
fi

rivals=genesis,mimalloc,rpmalloc
binaries="--bin bench-genesis --bin bench-mimalloc --bin bench-rpmalloc"
if command -v cmake >/dev/null; then
    rivals=$rivals,snmalloc
    binaries="$binaries --bin bench-snmalloc"
fi
if [ "${JEMALLOC:-1}" = 1 ]; then
    rivals=$rivals,jemalloc
    binaries="$binaries --bin bench-jemalloc"
fi
cargo build --release --bin compare --bin bench-system --bin bench-stress
cargo build --release --features "$rivals" $binaries
# By itself: mimalloc's crate holds one version at a time.
cargo build --release --features mimalloc-v2 --bin bench-mimalloc-v2
./preload-rivals.sh "$target/rivals"
if [ -d ../../host/preload ]; then
    (cd ../.. && cargo build --profile preload -p genesis-mem-preload)
fi
preload=${CARGO_TARGET_DIR:-../../target}/preload/libgenesis_mem.so

compare="$target/release/compare"
"$compare" cases --rounds "$rounds" --out "$results"
"$compare" extras --out "$results"
"$compare" preload --rounds "$rounds" --out "$results" --rivals "$target/rivals" --genesis "$preload"
"$compare" instructions --out "$results"
