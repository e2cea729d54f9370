#!/usr/bin/env bash
# Runs the device suite and the examples on the first GPU, and keeps what they say in
# tests/results/, named after the device. Fails where a test fails, or skips.
set -euo pipefail
cd "$(dirname "$0")/.."

ask() { nvidia-smi --id=0 --format=csv,noheader --query-gpu="$1"; }
name=$(ask name) || { echo "gpu.sh: nvidia-smi finds no GPU; is the driver installed?" >&2; exit 1; }
results=tests/results/$(tr -cs '[:alnum:]\n' - <<<"${name,,}" | sed 's/-*$//').txt
output=$(mktemp)
trap 'rm -f "$output"' EXIT

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

suite() {
    echo "device: $(ask name,driver_version,memory.total)"
    echo "commit: $(git describe --always --dirty)"
    run cargo test -p genesis-mem-cuda --test gpu -- --nocapture --test-threads 1
    for example in $(grep -l 'DeviceAllocator::new(' cuda/examples/*.rs); do
        run cargo run -q -p genesis-mem-cuda --example "$(basename "$example" .rs)"
    done
}

suite 2>&1 | grep -v '^ *Compiling' | tee "$output"
if grep 'skipped:' "$output"; then
    echo "gpu.sh: nothing is kept, since something was skipped" >&2
    exit 1
fi
cp "$output" "$results"
echo "kept in $results"
