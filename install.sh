#!/bin/sh
# Installs Freehold from this checkout, or brings an installation up to it:
#
#   sudo sh install.sh                 build, install, start, print the address and the setup link
#   sudo sh install.sh --demo          the same, then deploy examples/tasks-api with a database
#   sudo sh install.sh --foreground    without systemd: run the daemon here until Ctrl-C
#   sudo sh install.sh --binary FILE   install a binary that was built elsewhere
#
# Running it twice is harmless: data, settings and certificates are kept, and the ports stay open meanwhile.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
demo=no
foreground=no
binary=
need_kb=1900000 # 2 GB as machines are sold; the kernel keeps some of it
meminfo=${MEMINFO:-/proc/meminfo} # what the check of memory reads, and nothing else; another file for its tests
daemon=

say() { printf '%s\n' "$*"; }

# fail WHAT REMEDY...
fail() {
    printf '\ninstall.sh: %s\n' "$1" >&2
    shift
    for line; do printf '  %s\n' "$line" >&2; done
    exit 1
}

usage() { sed -n '2,9s/^# \{0,1\}//p' "$0"; }

while [ $# -gt 0 ]; do
    case $1 in
        --demo) demo=yes ;;
        --foreground) foreground=yes ;;
        --binary)
            [ $# -gt 1 ] || fail "--binary needs the file's name"
            binary=$2
            shift
            ;;
        -h | --help)
            usage
            exit 0
            ;;
        *)
            usage >&2
            fail "unknown option: $1"
            ;;
    esac
    shift
done

check_machine() {
    [ "$(id -u)" = 0 ] || fail "this needs root, to install a service" "sudo sh install.sh"
    [ "$(uname -s)" = Linux ] || fail "Freehold runs on Linux only; this is $(uname -s)"
    if [ -z "$binary" ]; then
        check_memory
        check_toolchain
    else
        [ -x "$binary" ] || fail "$binary is not a program"
    fi
    check_init
}

check_init() {
    if [ -d /run/systemd/system ]; then
        systemd=yes
        [ "$foreground" = no ] || fail "--foreground is for machines without systemd; this one has it" "sudo sh install.sh"
    else
        systemd=no
        [ "$foreground" = yes ] || fail "systemd does not run here, so nothing would keep Freehold running" \
            "To run it in this terminal instead: sudo sh install.sh --foreground"
    fi
}

# ---------------------------------------------------------------- the binary

# The person whose checkout this is: theirs is the toolchain, and the files a build writes.
owner() { stat -c %U "$here"; }

as_owner() {
    if [ "$(owner)" = root ]; then
        "$@"
    else
        runuser -u "$(owner)" -- "$@"
    fi
}

# The owner's own first: whoever builds has to be able to run it. Outside the checkout, where no other toolchain is asked for.
find_cargo() {
    there=
    for home in "$(getent passwd "$(owner)" | cut -d: -f6)" \
        "$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)" "$HOME"; do
        [ -x "$home/.cargo/bin/cargo" ] || continue
        there=${there:-$home/.cargo/bin/cargo}
        if (cd / && as_owner "$home/.cargo/bin/cargo" --version >/dev/null 2>&1); then
            echo "$home/.cargo/bin/cargo"
            return
        fi
    done
    if [ -n "$there" ]; then echo "$there"; else command -v cargo || true; fi
}

check_toolchain() {
    least=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$here/Cargo.toml")
    remedy="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal"
    cargo=$(find_cargo)
    [ -n "$cargo" ] || fail "building needs Rust $least or newer, and there is no cargo here" \
        "Debian's own is too old. Install rustup's stable, then run this again:" "$remedy"
    # The stable that is there does, if it is new enough; else rustup fetches what rust-toolchain.toml names.
    if not_older "$least" "$(RUSTUP_TOOLCHAIN=stable cargo_version)"; then export RUSTUP_TOOLCHAIN=stable; fi
    found=$(cargo_version)
    [ -n "$found" ] || fail "$cargo does not run for $(owner)" "Install rustup's stable as $(owner), then run this again:" "$remedy"
    not_older "$least" "$found" || fail "building needs Rust $least or newer; $cargo is $found" \
        "Debian's own is too old. Install rustup's stable, then run this again:" "$remedy"
}

cargo_version() { (cd "$here" && as_owner "$cargo" --version 2>/dev/null) | cut -d' ' -f2; }

# not_older LEAST FOUND: whether FOUND is a version, and LEAST or newer.
not_older() { [ -n "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | tail -n 1)" = "$2" ]; }

check_memory() {
    have_kb=$(awk '/^(MemTotal|SwapTotal):/ { sum += $2 } END { print sum }' "$meminfo")
    [ "$have_kb" -ge "$need_kb" ] || fail \
        "building needs 2 GB of memory and swap; this machine has $((have_kb / 1024)) MB (running needs far less)" \
        "Add swap, then run this again:" \
        "  fallocate -l 2G /swapfile && chmod 600 /swapfile && mkswap /swapfile && swapon /swapfile" \
        "or build on a larger machine (cargo build --release) and bring the binary:" \
        "  sudo sh install.sh --binary FILE"
}

build() {
    [ -z "$binary" ] || return 0
    command -v cc >/dev/null || packages build-essential
    say "Building (a few minutes the first time) ..."
    (cd "$here" && PATH=$(dirname "$cargo"):$PATH as_owner "$cargo" build --release --locked --quiet) ||
        fail "the build failed; the compiler's words are above"
    binary=$(cd "$here" && as_owner "$cargo" metadata --format-version 1 --no-deps 2>/dev/null |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')/release/freehold
}

# ---------------------------------------------------------------- this machine

packages() {
    command -v apt-get >/dev/null || fail "this machine has no apt-get; install these by hand, then run this again:" "$*"
    say "Installing $* ..."
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
        fail "apt-get could not install: $*"
}

engine_answers() { curl -sf --max-time 5 --unix-socket /var/run/docker.sock http://engine/_ping >/dev/null 2>&1; }

install_docker() {
    command -v curl >/dev/null || packages curl ca-certificates
    command -v git >/dev/null || packages git ca-certificates
    command -v dockerd >/dev/null || engine_answers || packages docker.io
    # An engine on a kernel with AppArmor starts no container without the program that loads its profile.
    if grep -qs Y /sys/module/apparmor/parameters/enabled && ! command -v apparmor_parser >/dev/null; then packages apparmor; fi
    engine_answers && return
    if [ "$systemd" = yes ]; then
        systemctl enable --now docker >/dev/null 2>&1 || true
    else
        say "No systemd starts Docker here; starting one for Freehold."
        command -v ip >/dev/null || packages iproute2
        "$here/tests/rig/engine" start /run/freehold-docker
        ln -sfn /run/freehold-docker/docker.sock /var/run/docker.sock
    fi
    tries=0
    until engine_answers; do
        tries=$((tries + 1))
        if [ "$tries" -gt 30 ]; then
            say "Docker does not answer at /var/run/docker.sock yet: journalctl -u docker says why. Freehold starts and waits for it."
            return
        fi
        sleep 1
    done
}

install_files() {
    getent group docker >/dev/null || groupadd --system docker
    getent group freehold >/dev/null || groupadd --system freehold
    getent passwd freehold >/dev/null || useradd --system --gid freehold --groups docker \
        --home-dir /var/lib/freehold --no-create-home --shell /usr/sbin/nologin freehold
    install -d -m 0755 -o root -g root /etc/freehold /etc/freehold/routes.d
    if [ ! -e /etc/freehold/config.toml ]; then
        cat >/etc/freehold/config.toml <<'CONFIG'
# Freehold's settings; every one has a default. Changes are taken up as soon as the file is saved.

# [dashboard]
# host = "panel.example.com"    # without one: https://<address of this box>/ with the box's own certificate

# [acme]
# email = "me@example.com"      # told about certificates that are about to end
CONFIG
        chown root:freehold /etc/freehold/config.toml
        chmod 0640 /etc/freehold/config.toml
    fi
    place 0644 "$here/README.md" /usr/local/share/doc/freehold/README.md
    install_help
    changed=no # an edited document restarts nothing; what follows does
    before=
    if [ -e /usr/local/bin/freehold ] && ! cmp -s "$binary" /usr/local/bin/freehold; then
        before=/usr/local/bin/freehold.before # until the new one has proven itself
        cp -p /usr/local/bin/freehold "$before"
    fi
    place 0755 "$binary" /usr/local/bin/freehold
    program_changed=$changed
    changed=no
    if [ "$systemd" = yes ]; then
        place 0644 "$here/systemd/freehold.socket" /etc/systemd/system/freehold.socket
        place 0644 "$here/systemd/freehold.service" /etc/systemd/system/freehold.service
        place 0644 "$here/systemd/freehold-build.slice" /etc/systemd/system/freehold-build.slice
    else
        install -d -m 0700 /var/lib/freehold
        install -d -m 0750 -g freehold /run/freehold
    fi
    unit_changed=$changed
    changed=$program_changed
}

# Completions and manual pages, made by the binary itself; a page whose verb is gone goes too.
install_help() {
    help=$(mktemp -d)
    "$binary" man "$help/man1" >/dev/null || fail "$binary does not run on this machine" "build it here: sudo sh install.sh"
    for shell in bash zsh fish; do "$binary" completions $shell >"$help/$shell"; done
    place 0644 "$help/bash" /usr/local/share/bash-completion/completions/freehold
    place 0644 "$help/zsh" /usr/local/share/zsh/site-functions/_freehold
    place 0644 "$help/fish" /usr/local/share/fish/vendor_completions.d/freehold.fish
    for page in /usr/local/share/man/man1/freehold.1 /usr/local/share/man/man1/freehold-*.1; do
        [ ! -e "$page" ] || [ -e "$help/man1/${page##*/}" ] || rm -f "$page"
    done
    for page in "$help"/man1/*.1; do
        place 0644 "$page" "/usr/local/share/man/man1/${page##*/}"
    done
    rm -rf "$help"
}

# place MODE FROM TO: whole or not at all, and only when it differs.
place() {
    cmp -s "$2" "$3" && return
    mkdir -p "$(dirname "$3")"
    install -m "$1" "$2" "$3.new"
    mv -f "$3.new" "$3"
    changed=yes
}

# ---------------------------------------------------------------- the daemon

check_ports() {
    if [ "$systemd" = yes ] && systemctl is-active --quiet freehold.socket; then return 0; fi
    command -v ss >/dev/null || return 0
    taken=$(ss -Hltnp '( sport = :80 or sport = :443 )' | awk '{ print $4, $6 }')
    [ -z "$taken" ] || fail "another program listens on port 80 or 443:" "$taken" \
        "Stop it (a web server, or Freehold in another terminal), then run this again."
}

# Whether the daemon runs a program that is replaced by now: an earlier run was interrupted before its handover.
runs_replaced() {
    case $(readlink "/proc/$(systemctl show -P MainPID freehold.service)/exe") in
        *' (deleted)') return 0 ;;
        *) return 1 ;;
    esac
}

start_service() {
    systemctl daemon-reload
    check_ports
    systemctl enable --quiet freehold.socket freehold.service
    systemctl start freehold.socket || fail "the ports cannot be had" "systemctl status freehold.socket says why"
    if ! systemctl is-active --quiet freehold.service; then
        systemctl start freehold.service ||
            fail "the daemon does not start" "journalctl -u freehold -n 50 says why"
    elif [ "$unit_changed" = yes ]; then
        restart_service
    elif [ "$changed" = yes ] || runs_replaced; then
        hand_over
    fi
    [ -z "$before" ] || rm -f "$before"
}

# What a unit says of its process is in force with a new one that systemd starts; who connects meanwhile waits.
restart_service() {
    systemctl restart freehold.service ||
        fail "the daemon does not start" "journalctl -u freehold -n 50 says why"
}

# The new program takes over from the one that runs, which loses no request; if it cannot, that one serves on.
hand_over() {
    code=0
    /usr/local/bin/freehold reload || code=$?
    case $code in
        0) ;;
        3) restart_service ;; # one that runs since before there were handovers
        *)
            [ -z "$before" ] || mv -f "$before" /usr/local/bin/freehold # or the next start would be of the new one
            fail "the new Freehold did not take over; the one before serves on, and is what is installed" \
                "journalctl -u freehold -n 50 says more"
            ;;
    esac
}

# However this script ends, the daemon that it started ends with it.
start_foreground() {
    check_ports
    say "Without systemd: the daemon runs in this terminal until Ctrl-C."
    trap end_daemon EXIT
    trap 'exit 0' INT TERM
    /usr/local/bin/freehold serve &
    daemon=$!
}

end_daemon() {
    code=$?
    trap - EXIT
    trap '' INT TERM
    if [ -n "$daemon" ]; then
        kill -TERM "$daemon" 2>/dev/null || true
        wait "$daemon" || true
    fi
    exit "$code"
}

# The daemon is up when the dashboard answers through the edge, its certificate verified.
wait_until_up() {
    tries=0
    until dashboard_answers; do
        tries=$((tries + 1))
        if [ "$foreground" = yes ] && ! kill -0 "$daemon" 2>/dev/null; then
            fail "the daemon ended; its words are above"
        fi
        [ "$tries" -le 60 ] || fail "the dashboard does not answer after 60 s" "freehold status; journalctl -u freehold -n 50"
        sleep 1
    done
}

# field NAME: one value of `freehold status --json`.
field() { freehold status --json | sed -n 's/.*"'"$1"'": *"\([^"]*\)".*/\1/p' | head -n 1; }

dashboard_answers() {
    freehold status --json >/dev/null 2>&1 || return 1
    curl -sf --max-time 5 -o /dev/null --cacert "$(field root_file)" "$(field dashboard)sign-in" 2>/dev/null
}

print_address() {
    say ""
    say "Freehold is up."
    say "  Dashboard           $(field dashboard)"
    say "  Fingerprint of the box's own root certificate (SHA-256)"
    say "                      $(field fingerprint)"
    if freehold status --json | grep -q '"owner": *false'; then
        say "  Set your password   $(freehold user reset | head -n 1)"
        say "                      (the link works once, for a day; a new one: sudo freehold user reset)"
    fi
    say ""
}

# ---------------------------------------------------------------- the demo

demo_images() {
    missing=
    for image in postgres:17 python:3.13-slim; do
        docker image inspect "$image" >/dev/null 2>&1 || timeout 300 docker pull --quiet "$image" >/dev/null 2>&1 || missing="$missing $image"
    done
    [ -n "$missing" ] || return 0
    say "No image registry can be reached from here; building$missing from Debian's packages (a few minutes)."
    for program in debootstrap busybox; do
        command -v "$program" >/dev/null || packages debootstrap busybox-static
    done
    "$here/tests/rig/images" || fail "the base images could be neither pulled nor built"
}

run_demo() {
    command -v docker >/dev/null || packages docker-cli
    engine_answers || fail "the demo needs Docker, and it does not answer" "journalctl -u docker -n 50 says why"
    demo_images
    freehold app show tasks >/dev/null 2>&1 || freehold app create tasks
    freehold db show main >/dev/null 2>&1 || freehold db create main
    freehold db attach main tasks
    freehold domain list tasks | grep -q tasks.localhost || freehold domain add tasks tasks.localhost
    freehold deploy "$here/examples/tasks-api" --app tasks
    answer=$(curl -sS --fail --max-time 10 --retry 10 --retry-all-errors --retry-delay 1 --cacert "$(field root_file)" \
        --resolve tasks.localhost:443:127.0.0.1 https://tasks.localhost/healthz) ||
        fail "the app does not answer at https://tasks.localhost/healthz" "freehold logs tasks says why"
    say ""
    say "The demo is live: https://tasks.localhost/healthz answered $answer"
    say "  API page            https://tasks.localhost/docs"
    say "  Trust its root      $(field root_file), as \`freehold status\` explains"
    say ""
}

check_machine
build
install_docker
install_files
if [ "$systemd" = yes ]; then start_service; else start_foreground; fi
wait_until_up
print_address
[ "$demo" = no ] || run_demo
if [ "$foreground" = yes ]; then wait "$daemon"; fi
