#!/bin/sh
# Builds the rivals' own C and C++ sources, as their crates bundle them, into libraries for
# LD_PRELOAD: newer than Debian's, and the same versions that the Rust cases run.
# Usage: preload-rivals.sh FOLDER
set -eu
out=${1:?usage: preload-rivals.sh FOLDER}
mkdir -p "$out"
cd "$(dirname "$0")"
metadata=$(cargo metadata --format-version 1 --all-features --filter-platform "$(rustc --print host-tuple)" | tr ',' '\n')

# The folder of a crate's source.
source_of() {
    echo "$metadata" | sed -n 's/.*"manifest_path":"\(.*\/'"$1"'-[0-9][^/]*\)\/Cargo.toml".*/\1/p' | head -n 1
}

# build NAME COMPILER ARGUMENTS…: compiles once, and says so where a rival does not build here.
build() {
    library=$out/lib$1.so
    shift
    [ -e "$library" ] && return
    if "$@" -O3 -DNDEBUG -w -fPIC -shared -pthread -o "$library.new"; then
        mv "$library.new" "$library"
    else
        echo "preload-rivals: $library does not build here, it is left out" >&2
    fi
}

mimalloc=$(source_of libmimalloc-sys)/c_src/mimalloc
for version in v3 v2; do
    case $version in v3) name=mimalloc ;; *) name=mimalloc-v2 ;; esac
    build $name gcc "$mimalloc/$version/src/static.c" "-I$mimalloc/$version/include" \
        -DMI_MALLOC_OVERRIDE -DMI_SHARED_LIB -DMI_SHARED_LIB_EXPORT \
        -fvisibility=hidden -ftls-model=initial-exec -fno-builtin-malloc
done

snmalloc=$(source_of snmalloc-sys)/upstream/src
override=$snmalloc/snmalloc/override
build snmalloc g++ "$override/malloc.cc" "$override/new.cc" "-I$snmalloc" -std=c++20 -mcx16 \
    '-DSNMALLOC_EXPORT=__attribute__((visibility("default")))' -DSNMALLOC_USE_WAIT_ON_ADDRESS=1 \
    -fvisibility=hidden -ftls-model=initial-exec -fno-rtti

rpmalloc=$(source_of rpmalloc-sys)/rpmalloc/rpmalloc
build rpmalloc gcc "$rpmalloc/rpmalloc.c" "-I$rpmalloc" \
    -DENABLE_OVERRIDE=1 -DENABLE_PRELOAD=1 -D_GNU_SOURCE -ftls-model=initial-exec
