#!/usr/bin/env bash
#
# The servers of a fault run, kept by the run itself: it talks to this script through a pipe.
#
#   servers.sh FOLDER PORTS
#
# answers one line for each command on its input: `ports` and PORTS free ports at the start, then for `postgres` and
# `broker` (start, or start again after a kill, on the same port) the process id and the address, for `rabbitmqctl`
# and its arguments `done`, or `failed`. When its input ends, however the run ended, both servers are stopped.

set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source scripts/services.sh

# How often a server is started before it counts as failed: after a SIGKILL of the postmaster its children may still
# hold the shared memory.
readonly TRIES=20

data=$1

main() {
    exec 3>&1 1>&2 # only answers go to the pipe
    trap stop_all EXIT
    trap 'exit 0' TERM HUP
    trap '' INT
    ensure_servers
    mkdir -p "$data/logs"
    choose_ports "$2"

    local command arguments
    while read -r command arguments; do
        case $command in
            postgres) answer start_again start_postgres_again ;;
            broker) answer start_again start_broker_again ;;
            rabbitmqctl)
                # shellcheck disable=SC2086 # words of a command, without spaces
                answer rabbitmqctl $arguments
                ;;
            unlock) unlock_ports && echo unlocked >&3 ;;
        esac
    done
}

# Before free_ports is replaced. The servers keep their ports for the whole run, and so do the services.
choose_ports() {
    local -a ports
    lock_ports
    read -ra ports < <(free_ports $((6 + $1)))
    server_ports=("${ports[@]:0:6}")
    # How scripts/services.sh asks: one for PostgreSQL, the others for RabbitMQ.
    free_ports() {
        if (($1 == 1)); then echo "${server_ports[0]}"; else echo "${server_ports[@]:1:$1}"; fi
    }
    echo "ports ${ports[*]:6}" >&3
}

# A virtual host whose queues are quorum queues, in both spellings of the setting: RabbitMQ 3.10 knows the second only. The
# services declare the rest.
create_virtual_host() {
    request --show-error --output /dev/null --request PUT \
        --header 'content-type: application/json' --data '{"default_queue_type":"quorum","defaultqueuetype":"quorum"}' \
        "$BROKER_ADMIN_URL/api/vhosts/$1"
}

answer() {
    "$@" || echo failed >&3
}

start_again() {
    local try
    for ((try = 1; try <= TRIES; try++)); do
        if "$1"; then return 0; fi
        sleep 0.2
    done
    return 1
}

start_postgres_again() {
    stop_process "$POSTGRES_PID" INT
    start_postgres "$data" durable || return
    create_database orders || return
    create_database invoices || return
    echo "postgres $POSTGRES_PID ${POSTGRES_URL%/*}" >&3
}

# The port mapper goes with the broker: the next one wants its port.
start_broker_again() {
    stop_process "$BROKER_PID" KILL
    stop_process "$EPMD_PID" KILL
    start_rabbitmq "$data" || return
    create_virtual_host tandem || return
    echo "broker $BROKER_PID $BROKER_AUTHORITY $BROKER_ADMIN_URL" >&3
}

# RabbitMQ's own tool, as its own user: it shares the node's cookie and finds it through the node's port mapper.
rabbitmqctl() {
    launch rabbitmq "$data/rabbitmq" "$data/logs/rabbitmqctl.log" \
        env --ignore-environment PATH="$PATH" LANG=C.UTF-8 HOME="$data/rabbitmq" \
        ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT="${server_ports[4]}" RABBITMQ_CONF_ENV_FILE=/dev/null \
        "$(dirname "$(rabbitmq_program)")/rabbitmqctl" --quiet --node tandem@localhost "$@"
    wait "$LAUNCHED" || return
    echo 'done' >&3
}

stop_all() {
    trap '' TERM HUP
    stop_rabbitmq KILL
    stop_postgres
}

main "$@"
