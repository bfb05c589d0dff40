#!/usr/bin/env bash
#
# A PostgreSQL and a RabbitMQ as docker-compose.yml makes them, without Docker: the same scripts and definitions, in the
# same order, on free ports. Says where they are in one line of JSON, and stops them when its input ends.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source scripts/services.sh

data=$(mktemp -d -t tandem-packaging.XXXXXX)
chmod go+x "$data"
mkdir "$data/logs" "$data/definitions.d"

finish() {
    stop_rabbitmq KILL
    stop_postgres
    rm -rf "$data"
}
trap finish EXIT

main() {
    lock_ports
    start_postgres "$data" disposable
    local -a psql=("$(postgres_programs)/psql" -X --quiet --set ON_ERROR_STOP=1 --dbname "$POSTGRES_URL")
    local file
    for file in $(mounted /docker-entrypoint-initdb.d/); do
        "${psql[@]}" --file "$file"
    done
    # Passwords count from here on, but for the superuser.
    printf '%s\n' 'host all postgres 127.0.0.1/32 trust' 'host all all 127.0.0.1/32 scram-sha-256' >"$data/postgres/data/pg_hba.conf"
    "${psql[@]}" --tuples-only --command 'SELECT pg_reload_conf()' >/dev/null

    for file in $(mounted /etc/rabbitmq/definitions.d/); do
        install -m 0644 "$file" "$data/definitions.d/$(target_of "$file")"
    done
    chmod go+rx "$data/definitions.d"
    sed "s#/etc/rabbitmq/definitions.d#$data/definitions.d#" infra/local/rabbitmq.conf >"$data/rabbitmq.conf"
    # shellcheck disable=SC2034 # for start_rabbitmq
    BROKER_CONFIG=$data/rabbitmq.conf BROKER_ADMINISTRATOR=admin:admin
    start_rabbitmq "$data"
    unlock_ports

    printf '{"postgres":"%s","rabbitmq":"%s","management":"%s"}\n' \
        "$(authority "$POSTGRES_URL")" "${BROKER_AUTHORITY#*@}" "$BROKER_ADMIN_URL"
    cat >/dev/null
}

# mounted FOLDER: the files that docker-compose.yml mounts there, in the order in which they are taken.
mounted() {
    sed -n "s#^ *- \./\([^:]*\):$1\([^:]*\):ro.*#\2 \1#p" docker-compose.yml | sort | cut -d ' ' -f 2
}

# target_of FILE: its name in the container.
target_of() {
    sed -n "s#^ *- \./$1:.*/\([^:/]*\):ro.*#\1#p" docker-compose.yml
}

# postgres://user@host:port/database → host:port
authority() {
    local rest=${1##*@}
    echo "${rest%%/*}"
}

main
