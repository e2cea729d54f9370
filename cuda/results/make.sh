#!/usr/bin/env bash
# Makes the tables of this folder: replays the bundled traces, then times pairs. Two minutes once all
# is built; times mean something on a quiet machine only.
set -euo pipefail
cd "$(dirname "$0")/../.."
results=cuda/results
cargo build --release -p genesis-mem

# A section: its heading, the command, and what it prints.
section() {
    printf '\n## %s\n\n```sh\n%s\n```\n\n' "$1" "$2"
    eval "$2"
}

replay='cargo run -q --release -p genesis-mem -- replay --table'
traces='cuda/traces/*.zst'
{
    echo "# The device allocator on recorded traces"
    echo
    echo "Made by \`cuda/results/make.sh\` at commit \`$(git describe --always --dirty)\`, on" \
        "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) cores, Linux" \
        "$(uname -r), $(rustc --version | cut -d' ' -f1,2), load $(cut -d' ' -f1 /proc/loadavg). What the columns mean: \`README.md\`."
    section "Streams that keep up with the host" "$replay --csv $results/replay.csv $traces"
    section "Streams 1,000 operations behind" \
        "$replay --lag 1000 --csv $results/replay_lag.csv $traces"
    section "Without virtual memory management" \
        "$replay --no-vmm --csv $results/replay_plain.csv $traces"
    printf '\n## Pairs of an allocation and a free\n\n```text\n'
    cargo run -q --release -p genesis-mem-cuda --example pairs
    printf '```\n\n`cargo run --release -p genesis-mem-cuda --example pairs`\n'
} >"$results/replay.md.new"
mv "$results/replay.md.new" "$results/replay.md"
echo "made $results/replay.md and its CSV files"
