#!/usr/bin/env bash
# Puts PostgreSQL's server programs into the cache (nodes/postgres): the tests ask one. Those of an installed server are taken where
# they are; otherwise they come from Debian's package, without touching the system. POSTGRES=/folder takes those in that folder.
set -euo pipefail
source "${BASH_SOURCE[0]%/*}/common.sh"

postgres=$cache/nodes/postgres
complete() { [[ -x $1/initdb && -x $1/postgres && -x $1/pg_ctl ]]; }

if [[ -n ${POSTGRES:-} && $POSTGRES != "$postgres" ]]; then
    complete "$POSTGRES" || fail "POSTGRES=$POSTGRES is not a folder with initdb, postgres and pg_ctl"
    exit 0
fi
complete "$postgres" && exit 0
lock postgres
complete "$postgres" && exit 0
mkdir -p "${postgres%/*}"

# Last of all, in both cases: it says that all is there.
link() {
    rm -rf "$postgres"
    ln -s "$1" "$postgres"
    say "$("$postgres/postgres" --version): $1"
}

installed=$(compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -n 1) || true
if [[ -n $installed ]] && complete "$installed"; then
    link "$installed"
    exit 0
fi

give_up() {
    fail "$1" "To go on, set POSTGRES=/folder to where initdb and postgres (12 or newer) are, for example" \
        "  make POSTGRES=/usr/lib/postgresql/15/bin ..."
}
for tool in apt-get apt-cache dpkg; do
    have $tool || give_up "no $tool here: PostgreSQL is fetched only on Debian and its kin"
done

say "fetching PostgreSQL (some 20 to 35 MB, a few seconds)"
work_folder postgres
mkdir "$work"/{archives,postgres}

# The server's package and the libraries that the system lacks, through all levels. The rest of what it depends on (users, services)
# is for a real installation; LLVM only makes long queries faster.
lacks() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) != installed ]]; }
fetch() {
    local package level next packages
    package=$(apt-cache depends --important postgresql | sed -n 's/^ *Depends: \(postgresql-[0-9]*\)$/\1/p' | head -n 1)
    [[ -n $package ]] || return 1
    packages=$package
    level=$package
    while [[ -n $level ]]; do
        next=
        # shellcheck disable=SC2086 # a list of names
        for library in $(apt-cache depends --important $level | sed -n 's/^ *|\?\(Pre\)\?Depends: \(z\?lib[^ ]*\)$/\2/p' | sort -u); do
            [[ $library == libllvm* || " $packages " == *" $library "* ]] && continue
            lacks "$library" || continue
            packages+=" $library"
            next+=" $library"
        done
        level=$next
    done
    # shellcheck disable=SC2086
    (cd "$work/archives" && quietly apt-get -q -o APT::Sandbox::User= download $packages)
}
# The lists may never have been fetched, or be too old; that takes root.
fetch 2>/dev/null || { ((EUID == 0)) && quietly apt-get -q update && fetch; } || give_up "Debian's package postgresql could not be fetched"
for archive in "$work"/archives/*.deb; do dpkg -x "$archive" "$work/postgres"; done

# One small starter for each program, which finds the rest relative to itself.
cd "$work/postgres"
programs=$(compgen -G 'usr/lib/postgresql/*/bin') || give_up "there are no programs in Debian's package of PostgreSQL"
mkdir start
# shellcheck disable=SC2012,SC2016 # plain names; the starter's own variable
libraries=$(ls -d {,usr/}lib/*-linux-gnu 2>/dev/null | sed 's|^|$root/|' | paste -sd :) || true
for program in initdb postgres pg_ctl; do
    cat >start/$program <<START
#!/bin/sh
# Starts $program with the libraries that were fetched for it.
root=\$(dirname "\$(readlink -f "\$0")")/..
export LD_LIBRARY_PATH="$libraries\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
exec "\$root/$programs/$program" "\$@"
START
    chmod 755 start/$program
    start/$program --version >/dev/null 2>&1 || give_up "the $program that was fetched does not run here"
done

cd /
# PostgreSQL does not run as root: for root it is run as nobody, who may not look into root's home.
place=$cache/nodes/postgresql
if ((EUID == 0)) && ! setpriv --reuid=nobody --regid=nogroup --clear-groups test -x "${place%/*}"; then
    place=/var/cache/assay/postgresql
    install -d -m 755 "${place%/*}"
fi
rm -rf "$place"
mv "$work/postgres" "$place"
chmod 755 "$place"
link "$place/start"
