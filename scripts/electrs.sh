#!/usr/bin/env bash
# Builds electrs, the Electrum server that the benchmarks compare with, into the cache (nodes/bin), from its crate: once, with the
# versions in its own Cargo.lock. ELECTRS=/path takes one that is there already; nothing is built then.
#
# It links a RocksDB of its own: its bindings are those of 9.10, with functions that the workspace's RocksDB no longer has.
set -euo pipefail
source "${BASH_SOURCE[0]%/*}/common.sh"

version=0.11.1

nodes=$cache/nodes
electrs=$nodes/bin/electrs

# "v0.11.1" -> 0.11.1. Without the switch a configuration of the user's, or an electrs.toml here, would be read first.
version_of() { "$1" --skip-default-conf-files --version 2>/dev/null | sed -n 's/^v\([0-9.]*\)$/\1/p'; }

give_up() {
    fail "$1" "To go on, set ELECTRS=/path to an electrs ($version was tested), for example" \
        "  make ELECTRS=/usr/local/bin/electrs ..."
}

if [[ -n ${ELECTRS:-} && $ELECTRS != "$electrs" ]]; then
    [[ $ELECTRS == /* ]] || fail "ELECTRS=$ELECTRS is not an absolute path"
    [[ -x $ELECTRS ]] || fail "ELECTRS=$ELECTRS is not an executable file"
    found=$(version_of "$ELECTRS") || true
    [[ -n $found ]] || fail "ELECTRS=$ELECTRS does not answer --version as an electrs does"
    [[ $found == "$version" ]] || say "ELECTRS=$ELECTRS is version $found; $version was tested"
    exit 0
fi

# bin/electrs is a link that names the version, so another version above is built at the next run.
present() { [[ -x $electrs && $(readlink "$electrs") == "../electrs-$version" ]]; }

present && exit 0
lock electrs
present && exit 0

say "building electrs $version with its RocksDB, once: 12 to 25 minutes on two cores, as busy as they are"
work_folder electrs
cd "$work"
# Newer compilers want a header (cstdint) that this RocksDB forgets in places.
env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC -u ROCKSDB_INCLUDE_DIR -u SNAPPY_LIB_DIR -u SNAPPY_STATIC -u CARGO_BUILD_TARGET -u RUSTFLAGS \
    CXXFLAGS="${CXXFLAGS:-} -include cstdint" CARGO_TARGET_DIR="$work/target" \
    cargo install electrs --version "=$version" --locked --root "$work" --no-track --quiet 9>&- || give_up "electrs $version could not be built"
found=$(version_of bin/electrs) || true
[[ $found == "$version" ]] || give_up "the electrs that was built does not run here"

mkdir -p "$nodes/bin"
mv -f bin/electrs "$nodes/electrs-$version"
ln -s "../electrs-$version" link
mv -fT link "$electrs" # last: it says that all is there
say "electrs $version: $electrs"
