#!/usr/bin/env bash
# Builds RocksDB's static library once, into the cache, for every checkout, target folder and profile to link. "where" prints its
# folder, for ROCKSDB_LIB_DIR.
#
# It is the library that the crate librocksdb-sys builds otherwise, of the version in Cargo.lock, with the features of the workspace.
set -euo pipefail
source "${BASH_SOURCE[0]%/*}/common.sh"

features='"bindgen-runtime", "lz4", "static", "zstd"' # what rocksdb in Cargo.toml comes to

# "0.19.0+11.8.1": the crate's version, and RocksDB's. Nothing, when the workspace does not use it.
version=$(sed -n '/^name = "librocksdb-sys"$/{n;s/^version = "\(.*\)"$/\1/p}' "$top/Cargo.lock" 2>/dev/null) || true
[[ -n $version ]] || exit 0
folder=$cache/rocksdb-${version#*+}
library=$folder/librocksdb.a

if [[ ${1:-} == where ]]; then
    echo "$folder"
    exit 0
fi

[[ ${ROCKSDB_LIB_DIR:-$folder} == "$folder" ]] || exit 0 # the user's own library
[[ -f $library ]] && exit 0
lock rocksdb
[[ -f $library ]] && exit 0

say "building RocksDB ${version#*+}, once: about 16 minutes on two cores"
work_folder rocksdb
cd "$work"
cat >Cargo.toml <<MANIFEST
[package]
name = "rocksdb-library"
edition = "2024"

[lib]
path = "empty.rs"

[dependencies]
librocksdb-sys = { version = "=${version%+*}", default-features = false, features = [$features] }
MANIFEST
touch empty.rs
cp "$top/Cargo.lock" .
# Every row that is written is summed up twice (CRC-32C): by the instruction for it, which 64-bit x86 has had since 2010.
[[ $(uname -m) != x86_64 ]] || flags='-C target-feature=+sse4.2,+pclmulqdq'
env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC -u CARGO_BUILD_TARGET RUSTFLAGS="${flags:-}" CARGO_TARGET_DIR="$work/target" \
    cargo build --release --quiet 9>&- || fail "RocksDB could not be built"

built=$(compgen -G 'target/release/build/librocksdb-sys-*/out/librocksdb.a') || fail "cargo built no librocksdb.a"
mkdir -p "$folder"
mv "$built" "$library"
say "RocksDB ${version#*+}: $library"
