# What the set-up scripts share: the cache's place, messages, locks. Sourced, never run.
# shellcheck shell=bash disable=SC2034

cache=${ASSAY_CACHE:-$HOME/.cache/assay}
top=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd)

say() { echo "set-up: $*" >&2; }

# Ends the script; further arguments are lines that say what to do.
fail() {
    echo "set-up: error: $1" >&2
    shift
    if (($#)); then printf '  %s\n' "$@" >&2; fi
    exit 1
}

[[ $cache == /* ]] || fail "ASSAY_CACHE=$cache is not an absolute path"

have() { command -v "$1" >/dev/null 2>&1; }

# Of several set-ups at once one does the work and the others wait; the lock ends with the script. A waiter checks again afterwards.
lock() {
    mkdir -p "$cache"
    exec 9>"$cache/$1.lock"
    have flock || return 0
    flock --nonblock 9 && return 0
    say "waiting for another set-up of $1 to end"
    flock 9
}

# Makes the folder $work, in the cache, so that what is finished in it is renamed into place on the same file system. It is removed
# when the script ends; what a killed one left is removed here: call it with the lock of the same name held.
work_folder() {
    rm -rf "$cache/.unfinished-$1"-*
    work=$(mktemp -d "$cache/.unfinished-$1-XXXXXX")
    trap 'rm -rf "$work"' EXIT
}

# Runs a command quietly; its output is shown only if it fails.
quietly() {
    local output
    output=$("$@" 2>&1 9>&-) || {
        echo "$output" >&2
        return 1
    }
}
