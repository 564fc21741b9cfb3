#!/usr/bin/env bash
# Puts Prometheus's alertmanager into the cache (nodes/bin), from Debian's package, without touching the system: the tests tell it of
# alerts. ALERTMANAGER=/path takes one that is there already.
set -euo pipefail
source "${BASH_SOURCE[0]%/*}/common.sh"

package=prometheus-alertmanager
alertmanager=$cache/nodes/bin/alertmanager

if [[ -n ${ALERTMANAGER:-} && $ALERTMANAGER != "$alertmanager" ]]; then
    [[ -x $ALERTMANAGER ]] || fail "ALERTMANAGER=$ALERTMANAGER is not an executable file"
    exit 0
fi
[[ -x $alertmanager ]] && exit 0
lock alertmanager
[[ -x $alertmanager ]] && exit 0

give_up() {
    fail "$1" "To go on, set ALERTMANAGER=/path to an alertmanager from 0.25 on, for example" \
        "  make ALERTMANAGER=/usr/local/bin/alertmanager ..."
}
for tool in apt-get dpkg; do
    have $tool || give_up "no $tool here: alertmanager is fetched only on Debian and its kin"
done

say "fetching alertmanager (some 10 MB, a few seconds)"
work_folder alertmanager
cd "$work"
fetch() { quietly apt-get -q -o APT::Sandbox::User= download "$package"; }
# The lists may never have been fetched, or be too old; that takes root.
fetch 2>/dev/null || { ((EUID == 0)) && quietly apt-get -q update && fetch; } || give_up "Debian's package $package could not be fetched"
dpkg -x "$package"_*.deb alertmanager

# Debian's build looks for its templates in /usr/share and nowhere else. A path of the same length leads to where it is started.
templates=usr/share/prometheus/alertmanager
here=$(printf './%.0s' {1..17})
((${#here} == ${#templates} + 1)) || give_up "the way to the templates has another length"
LC_ALL=C sed -i "s#/$templates#$here#g" alertmanager/usr/bin/prometheus-alertmanager
mkdir -p bin "${alertmanager%/*}"
cat >bin/alertmanager <<START
#!/bin/sh
# Starts Debian's alertmanager where its templates are: give it absolute paths.
cd "\$(dirname "\$(readlink -f "\$0")")/../alertmanager/$templates" && exec ../../../bin/prometheus-alertmanager "\$@"
START
chmod +x bin/alertmanager
bin/alertmanager --version >/dev/null 2>&1 || give_up "the alertmanager that was fetched does not run here"
rm -rf "$cache/nodes/alertmanager"
mv alertmanager "$cache/nodes/alertmanager"
mv bin/alertmanager "$alertmanager" # last: it says that all is there
say "$("$alertmanager" --version 2>&1 | head -n 1)"
