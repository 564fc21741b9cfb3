#!/usr/bin/env bash
# Checks that there is a Rust toolchain, new enough, with the components named as arguments (rustfmt, clippy).
set -euo pipefail
source "${BASH_SOURCE[0]%/*}/common.sh"

oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$top/Cargo.toml")

{ have cargo && have rustc; } || fail "no Rust toolchain here (cargo, rustc)" \
    "Install the stable toolchain, $oldest or newer, with rustup (see rust-lang.org, Install), then open a new shell."

found=$(rustc --version | sed -n 's/^rustc \([0-9.]*\).*/\1/p') || true
[[ -n $found ]] || fail "rustc does not run" "Install the stable toolchain:  rustup default stable"
if [[ $(printf '%s\n' "$oldest" "$found" | sort -V | head -n 1) != "$oldest" ]]; then
    fail "Rust $found is too old: Assay needs $oldest or newer" "Update it:  rustup update stable  (a distribution's own rustc may stay too old)"
fi

missing=()
for component in "$@"; do
    case $component in
    rustfmt) cargo fmt --version >/dev/null 2>&1 || missing+=("$component") ;;
    clippy) cargo clippy --version >/dev/null 2>&1 || missing+=("$component") ;;
    *) fail "no such Rust component is known here: $component" ;;
    esac
done
if ((${#missing[@]})); then
    have rustup || fail "the Rust toolchain lacks ${missing[*]}" "Install your distribution's packages of them, or use rustup."
    say "adding ${missing[*]} to the Rust toolchain"
    quietly rustup component add "${missing[@]}" || fail "rustup could not add ${missing[*]}"
fi
