#!/bin/sh
# Builds every allocator that it can, and measures them all: about an hour on two quiet cores.
# Usage: tests/bench/run.sh [--quick] [FOLDER FOR RESULTS]
#   --quick          each part once and in short, in ten minutes: to see that everything runs
#   ROUNDS=5         how often each case and each program runs with each allocator
#   JEMALLOC=0       leave jemalloc out, which builds for minutes
#   INSTALL=0        install nothing
set -eu
cd "$(dirname "$0")"
quick=
if [ "${1:-}" = --quick ]; then
    quick=1
    shift
fi
target=${CARGO_TARGET_DIR:-target}
results=${1:-${quick:+$target/quick}}
results=${results:-results}
rounds=${ROUNDS:-${quick:+1}}
rounds=${rounds:-5}

# cmake builds snmalloc; the libraries are rivals, the programs are what they are tried on.
packages="cmake g++ valgrind libjemalloc2 libtcmalloc-minimal4 python3 perl lua5.4 ruby sqlite3 z3
    ghostscript redis-server redis-tools heaptrack"
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
cargo build --release --features "$rivals" --bin compare --bin bench-system --bin bench-stress \
    --bin bench-profiler $binaries
# By itself: mimalloc's crate holds one version at a time.
cargo build --release --features mimalloc-v2 --bin bench-mimalloc-v2
./preload-rivals.sh "$target/rivals"
if [ -d ../../host/preload ]; then
    (cd ../.. && cargo build --profile preload -p genesis-mem-preload)
fi
preload=${CARGO_TARGET_DIR:-../../target}/preload/libgenesis_mem.so

# measure PART ARGUMENTS…: a part that fails is named, and the others still run.
failed=
measure() {
    "$target/release/compare" "$@" --out "$results" || failed="$failed $1"
}
libraries="--rivals $target/rivals --genesis $preload"
measure cases --rounds "$rounds" ${quick:+--divide 50}
measure preload --rounds "$rounds" $libraries \
    ${quick:+--programs 'python*,lua,sqlite,gcc,larson,xmalloc,threads-64'}
measure instructions
measure misuse $libraries ${quick:+--acts ': 64'}
measure threads --rounds "${quick:-3}" ${quick:+--counts 64}
measure idle
measure profiler --genesis "$preload" --rounds "$rounds" ${quick:+--quick}
measure summary
[ -z "$failed" ] || { echo "run.sh: these parts failed:$failed" >&2 && exit 1; }
