#!/bin/sh
# Runs every fuzz target for so many seconds each, and fails at the first crash.
# Usage: fuzz/run.sh [SECONDS per target, default 60]
set -eu
seconds=${1:-60}
case $seconds in
    '' | *[!0-9]* | 0) echo "usage: $0 [SECONDS per target, more than 0]" >&2; exit 2 ;;
esac
cd "$(dirname "$0")/.."
command -v cargo-fuzz >/dev/null || {
    echo "cargo-fuzz is missing: cargo install cargo-fuzz --locked" >&2
    exit 2
}
# The sanitizers are behind unstable flags; this lets a stable compiler take them.
export RUSTC_BOOTSTRAP=1
cargo fuzz build # by itself, so that below a failure is a crash
targets="buddy size_class slab heap"
count=0
for target in $targets; do
    count=$((count + 1))
    echo "[$count/4] $target: $seconds s"
    # Long programs from the start: short ones never fill an arena, and grow too slowly.
    cargo fuzz run "$target" -- -max_total_time="$seconds" -max_len=4096 -len_control=0 \
        -timeout=20 || {
        echo "$target failed; the input is in fuzz/artifacts/$target" >&2
        exit 1
    }
done
echo "no crash in $count targets, $seconds s each"
