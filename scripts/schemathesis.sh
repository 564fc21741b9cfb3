#!/usr/bin/env bash
# Puts schemathesis into the cache (nodes/bin), in a Python environment of its own: the tests let it try the API against its
# description. SCHEMATHESIS=/path takes one that is there already.
set -euo pipefail
source "${BASH_SOURCE[0]%/*}/common.sh"

version=4.32.5
schemathesis=$cache/nodes/bin/schemathesis

if [[ -n ${SCHEMATHESIS:-} && $SCHEMATHESIS != "$schemathesis" ]]; then
    [[ -x $SCHEMATHESIS ]] || fail "SCHEMATHESIS=$SCHEMATHESIS is not an executable file"
    exit 0
fi
[[ -x $schemathesis ]] && exit 0
lock schemathesis
[[ -x $schemathesis ]] && exit 0

give_up() {
    fail "$1" "To go on, set SCHEMATHESIS=/path to schemathesis 4, for example" \
        "  make SCHEMATHESIS=\$HOME/.local/bin/schemathesis ..."
}
have python3 || give_up "no python3 here, to run schemathesis with"

say "fetching schemathesis $version (some 90 MB, a few seconds)"
# Not moved afterwards: a Python environment knows its own place. The program is linked last, which says that all is there.
rm -rf "$cache/nodes/schemathesis"
quietly python3 -m venv "$cache/nodes/schemathesis" || give_up "python3 cannot make an environment (Debian: package python3-venv)"
quietly "$cache/nodes/schemathesis/bin/pip" install -q --disable-pip-version-check "schemathesis==$version" ||
    give_up "schemathesis could not be fetched with pip"
mkdir -p "${schemathesis%/*}"
ln -sf ../schemathesis/bin/schemathesis "$schemathesis"
say "$("$schemathesis" --version)"
