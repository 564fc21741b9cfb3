#!/usr/bin/env bash
# Puts anvil, the EVM node of tests and demo, into the cache (nodes/bin), from its npm package.
#
# ANVIL=/path takes an anvil that is there already; nothing is fetched then.
set -euo pipefail
source "${BASH_SOURCE[0]%/*}/common.sh"

version=1.7.1
amd64_sha512=f979928726c46b17c2aebd0e514670604cb63a7619b79a471fd4f306d2efdfe56b2b43bf00db8d49511a86a3612879605fb191279f77f37a1f361c644562184e

nodes=$cache/nodes
anvil=$nodes/bin/anvil

give_up() {
    fail "$1" "To go on, set ANVIL=/path to the anvil of a Foundry installation ($version was tested), for example" \
        "  make ANVIL=\$HOME/.foundry/bin/anvil ..."
}

if [[ -n ${ANVIL:-} && $ANVIL != "$anvil" ]]; then
    [[ $ANVIL == /* ]] || fail "ANVIL=$ANVIL is not an absolute path"
    [[ -x $ANVIL ]] || fail "ANVIL=$ANVIL is not an executable file"
    [[ $("$ANVIL" --version 2>/dev/null) == anvil* ]] || fail "ANVIL=$ANVIL does not answer --version as an anvil does"
    exit 0
fi

# bin/anvil is a link that names the version, so another version above is fetched at the next run.
present() { [[ -x $anvil && $(readlink "$anvil") == "../anvil-$version" ]]; }

present && exit 0
lock anvil
present && exit 0

case $(uname -sm) in
"Linux x86_64") machine=amd64 ;;
"Linux aarch64") machine=arm64 ;;
*) give_up "no anvil is fetched for $(uname -sm)" ;;
esac
have npm || give_up "no npm here to fetch anvil with"

say "fetching anvil $version from npm (some 20 MB, a few seconds)"
work_folder anvil
cd "$work"
quietly npm pack --loglevel error --cache "$work/npm" "@foundry-rs/anvil-linux-$machine@$version" || give_up "npm could not fetch anvil $version"
archive=$(compgen -G '*.tgz')
if [[ $machine == amd64 ]]; then # for others npm's own check has to do
    echo "$amd64_sha512  $archive" | quietly sha512sum -c - || fail "$archive is not the archive that this script knows"
fi
tar -xzf "$archive"
[[ $(package/bin/anvil --version 2>/dev/null) == anvil* ]] || give_up "the anvil that was fetched does not run here"

mkdir -p "$nodes/bin"
mv -f package/bin/anvil "$nodes/anvil-$version"
ln -s "../anvil-$version" link
mv -fT link "$anvil" # last: it says that all is there
say "$("$anvil" --version | head -n 1): $anvil"
