#!/bin/bash
# The contract of the official image's entry point: as root, take the data folder and drop to `postgres`; on an empty
# PGDATA run initdb, create POSTGRES_DB and run /docker-entrypoint-initdb.d; then become the server.
# shellcheck disable=SC1090  # sourcing is what a file without the executable bit asks for
set -Eeuo pipefail

# file_env NAME [DEFAULT]: NAME, or the contents of the file NAME_FILE names, never both.
file_env() {
    local name=$1 file=${1}_FILE default=${2:-}
    if [ -n "${!name:-}" ] && [ -n "${!file:-}" ]; then
        echo "error: both $name and $file are set (but are exclusive)" >&2
        exit 1
    fi
    local value=$default
    if [ -n "${!name:-}" ]; then
        value=${!name}
    elif [ -n "${!file:-}" ]; then
        value=$(<"${!file}")
    fi
    export "$name"="$value"
    unset "$file"
}

wants_help() {
    local arg
    for arg; do
        case $arg in
            -'?' | --help | --describe-config | -V | --version) return 0 ;;
        esac
    done
    return 1
}

prepare_folders() {
    mkdir -p "$PGDATA" /var/run/postgresql
    chmod 00700 "$PGDATA" || :
    chmod 03775 /var/run/postgresql || :
    if [ "$(id -u)" = 0 ]; then
        find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
        find /var/run/postgresql \! -user postgres -exec chown postgres '{}' +
    fi
}

initialise() {
    if [ -z "$POSTGRES_PASSWORD" ] && [ "${POSTGRES_HOST_AUTH_METHOD:-}" != trust ]; then
        echo 'Error: Database is uninitialized and superuser password is not specified.' >&2
        echo '       You must specify POSTGRES_PASSWORD to a non-empty value for the superuser.' >&2
        exit 1
    fi
    eval 'initdb --username="$POSTGRES_USER" --pwfile=<(printf "%s\n" "$POSTGRES_PASSWORD") '"${POSTGRES_INITDB_ARGS:-}"
    local method=${POSTGRES_HOST_AUTH_METHOD:-}
    if [ -z "$method" ]; then
        method=$(postgres -C password_encryption "$@" 2>/dev/null || echo scram-sha-256)
    fi
    printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
}

sql() { psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --no-password "$@"; }

create_database() {
    if [ "$POSTGRES_DB" != postgres ] &&
        [ -z "$(sql --dbname postgres --set db="$POSTGRES_DB" --tuples-only <<<"SELECT 1 FROM pg_database WHERE datname = :'db';")" ]; then
        sql --dbname postgres --set db="$POSTGRES_DB" <<<'CREATE DATABASE :"db";'
    fi
}

run_initdb_files() {
    local f
    for f in /docker-entrypoint-initdb.d/*; do
        case $f in
            *.sh) if [ -x "$f" ]; then echo "$0: running $f"; "$f"; else echo "$0: sourcing $f"; . "$f"; fi ;;
            *.sql) echo "$0: running $f"; sql --dbname "$POSTGRES_DB" -f "$f" ;;
            *.sql.gz) echo "$0: running $f"; gunzip -c "$f" | sql --dbname "$POSTGRES_DB" ;;
            *.sql.xz) echo "$0: running $f"; xzcat "$f" | sql --dbname "$POSTGRES_DB" ;;
            *.sql.zst) echo "$0: running $f"; zstd -dc "$f" | sql --dbname "$POSTGRES_DB" ;;
            *) [ ! -e "$f" ] || echo "$0: ignoring $f" ;;
        esac
    done
}

if [ "${1:0:1}" = '-' ]; then
    set -- postgres "$@"
fi
if [ "${1:-}" = postgres ] && ! wants_help "$@"; then
    prepare_folders
    if [ "$(id -u)" = 0 ]; then
        HOME=/var/lib/postgresql exec setpriv --reuid=postgres --regid=postgres --init-groups -- "${BASH_SOURCE[0]}" "$@"
    fi
    file_env POSTGRES_PASSWORD
    file_env POSTGRES_USER postgres
    file_env POSTGRES_DB "$POSTGRES_USER"
    file_env POSTGRES_INITDB_ARGS
    if [ -s "$PGDATA/PG_VERSION" ]; then
        printf '\nPostgreSQL Database directory appears to contain a database; Skipping initialization\n\n'
    else
        initialise "$@"
        # Nobody but this script reaches the server before it is complete: a socket, no TCP.
        export PGPASSWORD=${PGPASSWORD:-$POSTGRES_PASSWORD}
        NOTIFY_SOCKET='' pg_ctl -D "$PGDATA" -o "$(printf '%q ' "${@:2}" -c listen_addresses= -p 5432)" -w start
        create_database
        run_initdb_files
        pg_ctl -D "$PGDATA" -m fast -w stop
        unset PGPASSWORD
        printf '\nPostgreSQL init process complete; ready for start up.\n\n'
    fi
fi
exec "$@"
