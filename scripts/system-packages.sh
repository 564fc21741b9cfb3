#!/usr/bin/env bash
# Sees that the system has what Assay is built with (argument "build") and what its nodes are fetched with ("nodes").
#
# What is missing is found by looking for the files themselves, so nothing is asked of apt when all is there. Packages are installed
# only as root, or through a sudo that asks nothing; otherwise the command to run is printed.
set -euo pipefail
source "${BASH_SOURCE[0]%/*}/common.sh"

# Whether one of the patterns names a file.
any() {
    local pattern
    for pattern in "$@"; do compgen -G "$pattern" >/dev/null && return 0; done
    return 1
}

# RocksDB's bindings are made by libclang with the headers of its compiler.
have_libclang() {
    [[ -n ${LIBCLANG_PATH:-} ]] && return 0
    any /usr{,/local}/lib{,64}/{,llvm-*/lib/,*-linux-gnu*/}libclang{,-[0-9]*}.so* &&
        any /usr{,/local}/lib{,64}/{,llvm-*/lib/}clang/*/include/stddef.h
}
have_certificates() { any "${SSL_CERT_FILE:-/none}" /etc/ssl/certs/ca-*.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; }
have_anvil() { [[ -n ${ANVIL:-} && $ANVIL != "$cache/nodes/bin/anvil" || -x $cache/nodes/bin/anvil ]]; }

have_axe() { [[ -n ${AXE:-} && -s $AXE ]] || compgen -G "$cache/nodes/axe-*.js" >/dev/null; }

# Fills packages (Debian's names) and tools (for people elsewhere).
look() {
    packages=()
    tools=()
    local need
    for need in "$@"; do
        case $need in
        build)
            { have cc && have c++; } || missing build-essential "a C and C++ compiler (cc, c++)"
            have_libclang || missing libclang-dev "libclang with its headers (or LIBCLANG_PATH=/folder)"
            have_certificates || missing ca-certificates "the system's certificate authorities"
            ;;
        nodes)
            { have_anvil && have_axe; } || have npm || missing npm "npm, to fetch anvil and axe-core with (or ANVIL=/path, AXE=/path)"
            have "${CHROMIUM:-chromium}" || missing chromium "chromium, in which the tests look at the pages (or CHROMIUM=/path)"
            have "${CHROMEDRIVER:-chromedriver}" || missing chromium-driver "its chromedriver (or CHROMEDRIVER=/path)"
            have openssl || missing openssl "openssl, by which the tests make certificates"
            ;;
        *) fail "no such need is known here: $need" ;;
        esac
    done
}
missing() {
    packages+=("$1")
    tools+=("$2")
}

look "$@"
((${#packages[@]})) || exit 0
have apt-get || fail "missing here:" "${tools[@]}"

install=(apt-get install -y --no-install-recommends)
if ((EUID == 0)); then
    root=()
elif have sudo && sudo -n true 2>/dev/null; then
    root=(sudo -n)
else
    fail "system packages are missing; as root, run" "apt-get update && ${install[*]} ${packages[*]}" "and then this again."
fi

lock system-packages
look "$@"
((${#packages[@]})) || exit 0
say "installing ${packages[*]} (a minute or two)"
quietly "${root[@]}" apt-get update || fail "apt-get update failed"
quietly "${root[@]}" env DEBIAN_FRONTEND=noninteractive "${install[@]}" -o DPkg::Lock::Timeout=600 "${packages[@]}" ||
    fail "apt-get could not install ${packages[*]}"
look "$@"
((${#packages[@]} == 0)) || fail "still missing after the installation of ${packages[*]}:" "${tools[@]}"
