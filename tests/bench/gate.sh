#!/bin/sh
# Counts the instructions of eight core cases, and fails where one has grown by more than 2 % over
# what instructions.csv records. Takes ten seconds, and minutes to build once.
# Usage: tests/bench/gate.sh [--record]
#   --record         write instructions.csv anew: in the commit that changes the counts, which says why
set -eu
cd "$(dirname "$0")"
target=${CARGO_TARGET_DIR:-target}
record=instructions.csv

if ! command -v valgrind >/dev/null; then
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends valgrind
fi
cargo build --release --features genesis --bin compare --bin bench-genesis
counted=$target/instructions
set -- "${1:-}"
case $1 in
--record)
    "$target/release/compare" instructions --allocators genesis --out "$counted"
    cp "$counted/instructions.csv" "$record"
    ;;
'') "$target/release/compare" instructions --allocators genesis --out "$counted" --check "$record" ;;
*) sed -n '2,5s/^# //p' "$0" >&2 && exit 2 ;;
esac
