#!/usr/bin/env bash
# Puts axe-core, by which the tests check that the pages can be used by everybody, into the cache (nodes/axe.js), from its npm package.
set -euo pipefail
source "${BASH_SOURCE[0]%/*}/common.sh"

version=4.14.1
axe=$cache/nodes/axe-$version.js

[[ -n ${AXE:-} && $AXE != "$axe" || -s $axe ]] && exit 0
lock axe
[[ -s $axe ]] && exit 0
have npm || fail "no npm here to fetch axe-core with" "To go on, set AXE=/path to an axe.min.js ($version was tested)"

say "fetching axe-core $version from npm (a second)"
work_folder axe
cd "$work"
quietly npm pack --loglevel error --cache "$work/npm" "axe-core@$version" || fail "npm could not fetch axe-core $version"
tar -xzf "$(compgen -G '*.tgz')"
mkdir -p "$cache/nodes"
mv -f package/axe.min.js "$axe"
