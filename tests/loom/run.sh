#!/bin/sh
# Checks the models. LOOM_MAX_PREEMPTIONS=N bounds how often a schedule may preempt a thread
# (3 unless told); "all" lifts the bound. Arguments go to `cargo test`.
set -eu
cd "$(dirname "$0")"
LOOM_MAX_PREEMPTIONS=${LOOM_MAX_PREEMPTIONS:-3}
export LOOM_MAX_PREEMPTIONS
if [ "$LOOM_MAX_PREEMPTIONS" = all ]; then unset LOOM_MAX_PREEMPTIONS; fi
RUSTFLAGS="--cfg genesis_loom" exec cargo test --release --no-fail-fast --target-dir target "$@"
