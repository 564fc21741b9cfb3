#!/usr/bin/env bash
# Puts bitcoind and bitcoin-cli into the cache (nodes/bin), from Debian unstable's package bitcoin-knots, without touching the system.
#
# The package wants newer libraries than a stable Debian has, so they are fetched with it and the programs are started through
# their own loader. BITCOIND=/path takes a bitcoind that is there already; nothing is fetched then.
set -euo pipefail
source "${BASH_SOURCE[0]%/*}/common.sh"

package=bitcoin-knots # unstable moves: whatever version it has
oldest=25             # the first Bitcoin Core with everything that Assay asks for
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

nodes=$cache/nodes
bitcoind=$nodes/bin/bitcoind

# "Bitcoin Core daemon version v29.4.0" -> 29
major() { "$1" --version 2>/dev/null | sed -n '1s/.* v\([0-9]*\)\..*/\1/p'; }

give_up() {
    fail "$1" "To go on, set BITCOIND=/path to the bitcoind of any Bitcoin Core from $oldest on, for example" \
        "  make BITCOIND=/usr/local/bin/bitcoind ..."
}

if [[ -n ${BITCOIND:-} && $BITCOIND != "$bitcoind" ]]; then
    [[ $BITCOIND == /* ]] || fail "BITCOIND=$BITCOIND is not an absolute path"
    [[ -x $BITCOIND ]] || fail "BITCOIND=$BITCOIND is not an executable file"
    found=$(major "$BITCOIND") || true
    [[ -n $found ]] || fail "BITCOIND=$BITCOIND does not answer --version as a bitcoind does"
    ((found >= oldest)) || fail "BITCOIND=$BITCOIND is version $found; $oldest or newer is needed"
    exit 0
fi

[[ -x $bitcoind ]] && exit 0
lock bitcoind
[[ -x $bitcoind ]] && exit 0

for tool in apt-get apt-cache dpkg; do
    have $tool || give_up "no $tool here: bitcoind is fetched from Debian unstable only on Debian"
done
[[ -r $keyring ]] || give_up "no $keyring here (package debian-archive-keyring): Debian unstable can't be verified"

say "fetching bitcoind from Debian unstable (some 30 MB, a few seconds)"
work_folder bitcoind
mkdir -p "$work"/{lists/partial,archives/partial,bitcoind,bin}

# apt of our own: the system's proxy and certificate settings, but lists, archives and package state of its own, and no hooks.
private_apt() {
    local tool=$1
    shift
    "$tool" -q -c "$work/apt.conf" "$@"
}
cat >"$work/apt.conf" <<CONF
Dir::Etc::SourceList "$work/unstable.sources";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$work/lists";
Dir::State::Status "/dev/null";
Dir::Cache "$work";
Dir::Cache::pkgcache "packages.bin";
Dir::Cache::Archives "$work/archives";
APT::Sandbox::User "";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
CONF

# The system's own sources, whatever their form, as "address suite" lines; those that carry this Debian's release come first.
system_sources() {
    local codename
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
    apt-get update --print-uris 2>/dev/null |
        sed -n "s|^'\([^']*\)/dists/\([^'/]*\)/\(In\)\?Release' .*|\1 \2|p" |
        grep -E " ($codename|stable|testing|unstable|sid)\$" | awk '!seen[$1]++ { print $1 }'
}

# Takes the first mirror that has unstable, signed by Debian, with the package in it.
find_mirror() {
    local mirror
    for mirror in $(system_sources); do
        cat >"$work/unstable.sources" <<SOURCE
Types: deb
URIs: $mirror
Suites: sid
Components: main
Targets: Packages
Signed-By: $keyring
SOURCE
        private_apt apt-get update -o APT::Update::Error-Mode=any >>"$work/log" 2>&1 || continue
        [[ -n $(private_apt apt-cache madison $package 2>/dev/null) ]] && return 0
    done
    return 1
}
find_mirror || {
    [[ -s $work/log ]] && tail -n 5 "$work/log" >&2
    give_up "none of this system's package sources has Debian unstable with the package $package"
}

# The package and the libraries that it needs, through all levels. The rest of what it depends on (users, services) is for a real
# installation.
packages=$package
level=$package
while [[ -n $level ]]; do
    # shellcheck disable=SC2086 # a list of names
    level=$(private_apt apt-cache depends --important $level |
        sed -n 's/^ *|\?\(Pre\)\?Depends: \(z\?lib[^ ]*\)$/\2/p' | sort -u | grep -vxF "${packages// /$'\n'}" | tr '\n' ' ') || true
    packages=${packages}${level:+ ${level% }}
done
# shellcheck disable=SC2086
(cd "$work/archives" && quietly private_apt apt-get download $packages) || give_up "Debian unstable's packages could not be fetched"
for archive in "$work"/archives/*.deb; do dpkg -x "$archive" "$work/bitcoind"; done

# One small starter for each program, which finds the rest relative to itself.
cd "$work/bitcoind"
loader=$(compgen -G 'usr/lib/*-linux-gnu*/ld-linux*.so.*' | head -n 1) || give_up "no loader in Debian's libc6 for this machine"
libraries=${loader%/*}
for program in bitcoind bitcoin-cli; do
    if "$loader" --library-path "$libraries" --list usr/bin/$program | grep 'not found' >&2; then
        give_up "the libraries that were fetched for $program are not complete"
    fi
    cat >"$work/bin/$program" <<START
#!/bin/sh
# Starts $program of Debian unstable with the libraries that it was built for.
root=\$(dirname "\$(readlink -f "\$0")")/../bitcoind
exec "\$root/$loader" --library-path "\$root/$libraries" "\$root/usr/bin/$program" "\$@"
START
    chmod +x "$work/bin/$program"
done

[[ -n $(major "$work/bin/bitcoind") ]] || give_up "the bitcoind that was fetched does not run here"

mkdir -p "$nodes/bin"
rm -rf "$nodes/bitcoind"
mv "$work/bitcoind" "$nodes/bitcoind"
mv "$work/bin/bitcoin-cli" "$nodes/bin/bitcoin-cli"
mv "$work/bin/bitcoind" "$bitcoind" # last: it says that all is there
say "$("$bitcoind" --version | head -n 1): $bitcoind"
