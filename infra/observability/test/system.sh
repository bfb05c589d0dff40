#!/usr/bin/env bash
#
# The whole system with everything that watches it, for the test beside this file: PostgreSQL, RabbitMQ, orders, invoices,
# bff, the exporter of PostgreSQL, Alertmanager and Prometheus, on free ports.
#
#   system.sh FOLDER
#
# prints one line of JSON, the addresses, when everything runs. When its input ends, however the test ended, it stops
# everything. PROGRAMS is the folder of our own programs.

set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
source scripts/services.sh

data=$1
programs=${PROGRAMS:-${CARGO_TARGET_DIR:-target}/debug}
started=()

main() {
    exec 3>&1 1>&2 # only the addresses go to the test
    trap stop_all EXIT
    trap 'exit 0' TERM HUP
    trap '' INT
    mkdir -p "$data/logs" "$data/prometheus" "$data/alertmanager"

    lock_ports
    local -a ports
    read -ra ports < <(free_ports 10)
    BROKER_METRICS_PORT=${ports[0]}
    start_postgres "$data" disposable
    start_rabbitmq "$data"
    start_services "${ports[@]:1:6}"
    start_watchers "${ports[@]:7:3}"
    unlock_ports

    cat "$data/addresses.json" >&3
    while read -r; do :; done # until the test is over
}

# start_services PORT… of orders, invoices and bff, and then of their metrics
start_services() {
    local orders=http://localhost:$1 invoices=http://localhost:$2 bff=http://localhost:$3
    local name
    for name in orders invoices; do
        create_database "$name"
        run_once migration env DATABASE_URL="${POSTGRES_URL%/*}/$name" "$programs/migration" up "$name"
    done
    run_once broker-setup env BROKER_ADMIN_URL="$BROKER_ADMIN_URL" "$programs/orders" broker-setup --vhost tandem

    start orders "$orders/readyz" env PORT="$1" METRICS_PORT="$4" DATABASE_URL="${POSTGRES_URL%/*}/orders"
    start invoices "$invoices/readyz" env PORT="$2" METRICS_PORT="$5" DATABASE_URL="${POSTGRES_URL%/*}/invoices"
    start bff "$bff/readyz" env PORT="$3" METRICS_PORT="$6" ORDERS_URL="$orders" INVOICES_URL="$invoices"

    cat >"$data/addresses.json" <<JSON
{ "orders": "$orders", "invoices": "$invoices", "bff": "$bff", "brokerAdmin": "$BROKER_ADMIN_URL",
  "metrics": { "orders": "localhost:$4", "invoices": "localhost:$5", "bff": "localhost:$6",
    "rabbitmq": "127.0.0.1:$BROKER_METRICS_PORT" } }
JSON
}

# start NAME URL env VARIABLE=VALUE…: one of our programs, until the URL answers.
start() {
    local name=$1 url=$2
    shift 2
    launch '' "$PWD" "$data/logs/$name.log" \
        "$@" HOST=localhost BROKER_URL="amqp://$BROKER_AUTHORITY/tandem" "$programs/$name"
    started+=("$LAUNCHED")
    await_server "$name" "$LAUNCHED" "$data/logs/$name.log" request "$url"
}

# start_watchers PORT… of the exporter, Alertmanager and Prometheus
start_watchers() {
    node infra/observability/test/render.mjs "$data" "$@"

    watch postgres-exporter "http://127.0.0.1:$1/metrics" \
        env DATA_SOURCE_NAME="$POSTGRES_URL?sslmode=disable" prometheus-postgres-exporter --web.listen-address="127.0.0.1:$1"
    watch alertmanager "http://127.0.0.1:$2/-/ready" \
        prometheus-alertmanager --config.file="$data/alertmanager.yml" --storage.path="$data/alertmanager" \
        --web.listen-address="127.0.0.1:$2" --cluster.listen-address=
    watch prometheus "http://127.0.0.1:$3/-/ready" \
        prometheus --config.file="$data/prometheus.yml" --storage.tsdb.path="$data/prometheus" \
        --web.listen-address="127.0.0.1:$3" --enable-feature=exemplar-storage
}

# watch NAME URL COMMAND…
watch() {
    local name=$1 url=$2 log=$data/logs/$1.log
    shift 2
    launch '' "$data" "$log" "$@"
    started+=("$LAUNCHED")
    await_server "$name" "$LAUNCHED" "$log" request "$url"
}

run_once() {
    local log=$data/logs/$1.log
    shift
    if ! "$@" >>"$log" 2>&1; then
        show_log "$2 … failed" "$log"
        exit 1
    fi
}

# The callers before those they call, and the servers last.
stop_all() {
    local status=$? index
    trap '' TERM HUP
    for ((index = ${#started[@]} - 1; index >= 0; index--)); do
        stop_process "${started[index]}"
    done
    stop_rabbitmq KILL
    stop_postgres
    exit "$status"
}

main
