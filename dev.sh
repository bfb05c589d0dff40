#!/usr/bin/env bash
#
# Runs the system with its real parts: in Docker, by docker-compose.yml (scripts/compose.sh), or as processes (below).
#
# With --local there is no Docker: orders, invoices and the BFF run on PostgreSQL and RabbitMQ, instances of its own in
# the data folder, unless their URLs are given. Ctrl+C stops everything in order and the data stays; the next start
# goes on with it. It is asked for by name and never taken in Docker's place: it installs servers, builds for minutes,
# and holds the terminal.

set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")"
source scripts/services.sh
source scripts/compose.sh

usage() {
    cat <<'HELP'
Usage: ./dev.sh [OPTIONS]          starts the whole system in Docker, waits until it is healthy, places an order
                                   through the gateway, and says where everything is
       ./dev.sh down [--volumes]   stops it; with --volumes its data is deleted, too
       ./dev.sh logs [SERVICE…]    follows its logs
       ./dev.sh --local [OPTIONS]  the programs as processes in the foreground, without Docker

In Docker (version 25 or later, with Compose 2.24 or later):
  --observability       Prometheus, Alertmanager and Grafana, too
  --direct              orders, invoices, bff and PostgreSQL on 3333, 3334, 4000 and 5432, too
  --no-build            the images that are there
Variables of docker-compose.yml, as JWT_SECRET, are taken from the environment or from .env. TANDEM_TOKEN is the token
that the order is placed with, where the gateway asks for one.

Without Docker it refuses, and does not take the other way by itself: --local needs PostgreSQL and RabbitMQ, which as
root it installs, and holds the terminal. `cargo run` needs nothing but Rust.

With --local:
  --data DIR            databases, broker and logs (default: data/local)
  --orders-port PORT    default: 3333; 0 takes a free one, also below
  --invoices-port PORT  default: 3334
  --bff-port PORT       default: 4000
  --release             build and run optimized programs
  --no-build            run what was built before
  --help                this text

ORDERS_DATABASE_URL and INVOICES_DATABASE_URL, and BROKER_URL, name servers to use instead of private instances.
Once everything is ready, DIR/endpoints.json tells programs the URLs and process ids.
HELP
}

orders_port=3333 invoices_port=3334 bff_port=4000
data=data/local
programs=${CARGO_TARGET_DIR:-target}/debug
build=yes
cargo_build=(cargo build --locked --bins -p orders -p invoices -p bff -p migration)

# The process ids of orders, invoices and bff, while they run.
declare -A pid_of=()

main() {
    local argument
    for argument in "$@"; do
        case $argument in
            --help | -h) usage && exit ;;
            --local)
                run_locally "$@"
                exit
                ;;
        esac
    done
    case ${1:-} in
        down | logs) "compose_$1" "${@:2}" ;;
        up) compose_up "${@:2}" ;;
        *) compose_up "$@" ;;
    esac
}

run_locally() {
    while (($#)); do
        case $1 in
            --local) ;;
            --data | --orders-port | --invoices-port | --bff-port)
                (($# > 1)) || refuse "$1 needs a value"
                set_option "$1" "$2"
                shift
                ;;
            --release)
                programs=${CARGO_TARGET_DIR:-target}/release
                cargo_build+=(--release)
                ;;
            --no-build) build=no ;;
            *) refuse "unknown option $1" ;;
        esac
        shift
    done
    refuse_busy_ports
    refuse_half_given_servers
    provide_programs
    if [[ -z ${ORDERS_DATABASE_URL:-} || -z ${BROKER_URL:-} ]]; then
        ensure_servers
    fi

    mkdir -p "$data/logs"
    data=$(realpath "$data")
    lock_data
    trap stop_all EXIT
    trap 'exit 0' INT TERM HUP

    lock_ports # from here on free ports are chosen
    provide_databases
    provide_broker
    choose_free_ports
    start_service orders "$orders_port" DATABASE_URL="$ORDERS_DATABASE_URL"
    start_service invoices "$invoices_port" DATABASE_URL="$INVOICES_DATABASE_URL"
    start_service bff "$bff_port" ORDERS_URL="$(url_of "$orders_port")" INVOICES_URL="$(url_of "$invoices_port")"
    unlock_ports

    write_endpoints
    print_welcome
    watch
}

# --- Before anything is made -------------------------------------------------------------------------------------

refuse() {
    complain "$*"
    exit 2
}

set_option() {
    if [[ $1 == --data ]]; then
        data=$2
        return
    fi
    if [[ ! $2 =~ ^[0-9]{1,5}$ ]] || ((10#$2 > 65535)); then
        refuse "$1 must be 0 to 65535, not $2"
    fi
    case $1 in
        --orders-port) orders_port=$2 ;;
        --invoices-port) invoices_port=$2 ;;
        --bff-port) bff_port=$2 ;;
    esac
}

refuse_busy_ports() {
    local service port busy=''
    for service in orders invoices bff; do
        port=${service}_port
        if ((${!port})) && port_is_busy "${!port}"; then
            busy+="${busy:+, }${!port} ($service, --$service-port)"
        fi
    done
    [[ -z $busy ]] || refuse "in use by other programs: $busy. The options choose other ports, 0 a free one"
}

refuse_half_given_servers() {
    if [[ -n ${ORDERS_DATABASE_URL:-} && -z ${INVOICES_DATABASE_URL:-} ||
        -z ${ORDERS_DATABASE_URL:-} && -n ${INVOICES_DATABASE_URL:-} ]]; then
        refuse 'give both ORDERS_DATABASE_URL and INVOICES_DATABASE_URL, or none of them'
    fi
}

provide_programs() {
    if [[ $build == yes ]]; then
        "${cargo_build[@]}"
    fi
    local program
    for program in orders invoices bff migration; do
        [[ -x $programs/$program ]] || refuse "there is no $programs/$program: run without --no-build"
    done
}

# The servers started here inherit the lock, so it lasts as long as any of them.
lock_data() {
    exec {DATA_LOCK}<"$data"
    flock --nonblock "$DATA_LOCK" || refuse "$data is in use by another ./dev.sh; --data chooses another folder"
    rm -f "$data"/logs/*.log "$data/endpoints.json"
}

# --- Starting ----------------------------------------------------------------------------------------------------

provide_databases() {
    if [[ -z ${ORDERS_DATABASE_URL:-} ]]; then
        start_postgres "$data" durable
        create_database orders
        create_database invoices
        ORDERS_DATABASE_URL=${POSTGRES_URL%/*}/orders
        INVOICES_DATABASE_URL=${POSTGRES_URL%/*}/invoices
    fi
    migrate orders "$ORDERS_DATABASE_URL"
    migrate invoices "$INVOICES_DATABASE_URL"
}

migrate() {
    local log=$data/logs/migration.log
    if ! DATABASE_URL=$2 "$programs/migration" up "$1" >>"$log" 2>&1; then
        show_log "the migration of $1 failed" "$log"
        exit 1
    fi
}

provide_broker() {
    [[ -z ${BROKER_URL:-} ]] || return 0
    start_rabbitmq "$data"
    local log=$data/logs/broker-setup.log
    if ! BROKER_ADMIN_URL=$BROKER_ADMIN_URL "$programs/orders" broker-setup --vhost tandem >"$log" 2>&1; then
        show_log 'the set-up of the broker failed' "$log"
        exit 1
    fi
    BROKER_URL=amqp://$BROKER_AUTHORITY/tandem
}

choose_free_ports() {
    local -a free
    read -ra free < <(free_ports 3)
    ((orders_port)) || orders_port=${free[0]}
    ((invoices_port)) || invoices_port=${free[1]}
    ((bff_port)) || bff_port=${free[2]}
}

# start_service NAME PORT VARIABLE=VALUE…
start_service() {
    local name=$1 port=$2 log=$data/logs/$1.log
    shift 2
    launch '' "$PWD" "$log" \
        env HOST=localhost PORT="$port" METRICS_PORT=0 BROKER_URL="$BROKER_URL" "$@" "$programs/$name"
    pid_of[$name]=$LAUNCHED
    await_server "$name" "$LAUNCHED" "$log" request "$(url_of "$port")/readyz"
}

url_of() {
    echo "http://localhost:$1"
}

# --- Running -----------------------------------------------------------------------------------------------------

# Renamed into place, so that whoever waits for the file finds it complete. It may hold passwords.
write_endpoints() {
    (umask 077 && cat >"$data/endpoints.json.new") <<JSON
{
  "ordersUrl": "$(url_of "$orders_port")",
  "invoicesUrl": "$(url_of "$invoices_port")",
  "bffUrl": "$(url_of "$bff_port")",
  "brokerUrl": "$BROKER_URL",
  "brokerAdminUrl": $(json_or_null "$BROKER_ADMIN_URL"),
  "ordersDatabaseUrl": "$ORDERS_DATABASE_URL",
  "invoicesDatabaseUrl": "$INVOICES_DATABASE_URL",
  "pids": {
    "orders": ${pid_of[orders]},
    "invoices": ${pid_of[invoices]},
    "bff": ${pid_of[bff]},
    "postgres": ${POSTGRES_PID:-null},
    "rabbitmq": ${BROKER_PID:-null}
  }
}
JSON
    mv "$data/endpoints.json.new" "$data/endpoints.json"
}

json_or_null() {
    if [[ -n $1 ]]; then echo "\"$1\""; else echo null; fi
}

print_welcome() {
    cat <<TEXT

Tandem runs. Ctrl+C stops it; the data stays in $data.

  GraphQL      $(url_of "$bff_port")/graphql
  orders       $(url_of "$orders_port")/orders
  invoices     $(url_of "$invoices_port")/invoices
${POSTGRES_PID:+  PostgreSQL   $POSTGRES_URL
}${BROKER_PID:+  RabbitMQ     $BROKER_ADMIN_URL
}  logs         $data/logs

Place an order, then ask for it together with its invoice:

  curl $(url_of "$orders_port")/orders -H 'content-type: application/json' -d '{"amount":1999}'
  curl $(url_of "$bff_port")/graphql -H 'content-type: application/json' \\
    -d '{"query":"{ orders(first: 3) { nodes { id amount status invoice { number status } } } }"}'

TEXT
}

# Until a process fails. One that ends with 0 was asked to, by somebody who tries how it goes without it: the others
# go on.
watch() {
    local -A running=([${pid_of[orders]}]=orders [${pid_of[invoices]}]=invoices [${pid_of[bff]}]=bff)
    [[ -z $POSTGRES_PID ]] || running[$POSTGRES_PID]=postgres
    [[ -z $BROKER_PID ]] || running[$BROKER_PID]=rabbitmq
    local ended name status
    while ((${#running[@]})); do
        status=0
        # Silent: the shell would announce a killed process by its whole command line.
        wait -n -p ended "${!running[@]}" 2>/dev/null || status=$?
        name=${running[$ended]}
        unset "running[$ended]" "pid_of[$name]"
        if ((status)); then
            show_log "$name ended with status $status" "$data/logs/$name.log"
            exit 1
        fi
        echo "$name was stopped, the others go on."
    done
}

# The callers before those they call, and the servers last.
stop_all() {
    local status=$? service
    trap '' INT TERM HUP
    echo 'Stopping.'
    rm -f "$data/endpoints.json"
    for service in bff invoices orders; do
        stop_process "${pid_of[$service]:-}"
    done
    stop_rabbitmq TERM
    stop_postgres
    exit "$status"
}

main "$@"
