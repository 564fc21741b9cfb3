#!/usr/bin/env bash
# Puts ponder, the EVM indexer that the benchmarks compare with, into the cache (nodes/ponder), from npm. PONDER=/folder takes one whose
# node_modules has it already.
set -euo pipefail
source "${BASH_SOURCE[0]%/*}/common.sh"

packages=$top/crates/cli/benches/evm/ponder/package.json
version=$(sed -n 's/.*"ponder": "\([0-9.]*\)".*/\1/p' "$packages")
ponder=$cache/nodes/ponder

give_up() {
    fail "$1" "To go on, set PONDER=/folder to one where \`npm install ponder@$version viem hono typescript\` was run"
}

if [[ -n ${PONDER:-} && $PONDER != "$ponder" ]]; then
    [[ -x $PONDER/node_modules/.bin/ponder ]] || fail "PONDER=$PONDER has no node_modules/.bin/ponder"
    exit 0
fi

# nodes/ponder is a link that names the version, so another version is fetched at the next run.
present() { [[ -x $ponder/node_modules/.bin/ponder && $(readlink "$ponder") == "ponder-$version" ]]; }

present && exit 0
lock ponder
present && exit 0
have npm || give_up "no npm here to fetch ponder with"

say "fetching ponder $version from npm (230 MB, half a minute)"
work_folder ponder
mkdir "$work/ponder"
cp "$packages" "$work/ponder"
quietly npm install --prefix "$work/ponder" --ignore-scripts --no-audit --no-fund --loglevel error --cache "$work/npm" ||
    give_up "npm could not fetch ponder $version"
"$work/ponder/node_modules/.bin/ponder" --version >/dev/null || give_up "the ponder that was fetched does not run here"

mkdir -p "$cache/nodes"
rm -rf "$cache/nodes/ponder-$version"
mv "$work/ponder" "$cache/nodes/ponder-$version"
ln -s "ponder-$version" "$work/link"
mv -fT "$work/link" "$ponder" # last: it says that all is there
say "ponder $version: $ponder"
