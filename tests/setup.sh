#!/usr/bin/env bash
# Installs what is missing on a Debian machine that has git, make, curl and a Rust toolchain.
#
#   tests/setup.sh build   a C compiler and cmake, for dependencies written in C
#   tests/setup.sh test    PostgreSQL, Redis, Node with npm, the npm packages, cargo-nextest
#   tests/setup.sh deny    cargo-deny
#   tests/setup.sh fuzz    cargo-fuzz
#
# Says what it does, does nothing twice, and starts no system service: the tests start their own
# processes on free ports, from temporary directories.
set -euo pipefail
cd "$(dirname "$0")/.."

NEXTEST=0.9.143
DENY=0.20.2
FUZZ=0.13.2

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"
    elif have sudo; then sudo "$@"
    else fail "installing Debian packages needs root or sudo: install ${packages[*]} by hand"
    fi
}

apt_install() {
    [ ${#packages[@]} -gt 0 ] || return 0
    have apt-get || fail "missing: ${packages[*]} (only Debian is handled here: install them by hand)"
    say "installing Debian packages: ${packages[*]}"
    # Debian starts a freshly installed server at once; this file is its own way to say no.
    local policy=/usr/sbin/policy-rc.d placed=
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
        as_root chmod 755 $policy
        placed=1
    fi
    local status=0
    as_root apt-get update -qq || say 'apt-get update failed; trying with the lists at hand'
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null || status=$?
    [ -z "$placed" ] || as_root rm -f $policy
    [ $status -eq 0 ] || fail "apt-get could not install ${packages[*]}"
}

# Debian keeps the server's programs out of PATH.
have_postgres() { have postgres || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; }

have_node() { have node && [ "$(node -p 'process.versions.node.split(".")[0]')" -ge 18 ]; }

need_build() {
    have cc && have c++ || packages+=(gcc g++ libc6-dev)
    have cmake || packages+=(cmake)
    have make || packages+=(make)
}

need_test() {
    have_postgres || packages+=(postgresql)
    have redis-server || packages+=(redis-server)
    have setpriv || packages+=(util-linux)
    have_node || packages+=(nodejs)
}

npm_packages() {
    # npm writes this file last, so it is newer than the lockfile only after a complete install.
    [ tests/node_modules/.package-lock.json -nt tests/package-lock.json ] && return
    # Only now: other builds of Debian's nodejs bring npm along and conflict with its package.
    if ! have npm; then
        packages=(npm)
        apt_install
    fi
    have_node || fail "node $(node --version) is too old: 18 or later is needed"
    say 'installing PostgREST, oidc-provider and supabase-js into tests/node_modules (npm ci)'
    (cd tests && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
    touch tests/node_modules/.package-lock.json
}

cargo_tool() {
    local name=$1 version=$2
    shift 2
    cargo "$name" --version >/dev/null 2>&1 && return
    say "building cargo-$name $version into .tools (a few minutes, once)"
    # Unoptimised: it mostly waits for other programs, and builds in a third of the time.
    CARGO_PROFILE_DEV_DEBUG=0 cargo install --locked --debug --quiet --root .tools \
        "cargo-$name@$version" "$@"
}

have cargo || fail 'no cargo: install a Rust toolchain (1.95 or later), for example with rustup'

packages=()
for part in "$@"; do
    case $part in
        build) need_build ;;
        test) need_test ;;
        deny | fuzz) ;;
        *) fail "unknown part \`$part\`: build, test, deny or fuzz" ;;
    esac
done
apt_install
for part in "$@"; do
    case $part in
        test)
            npm_packages
            # Without its self-updater, which is most of its dependencies.
            cargo_tool nextest $NEXTEST --no-default-features --features default-no-update
            ;;
        deny) cargo_tool deny $DENY ;;
        fuzz) cargo_tool fuzz $FUZZ ;;
    esac
done
