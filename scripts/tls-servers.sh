#!/usr/bin/env bash
#
# A private PostgreSQL and RabbitMQ that speak TLS, for the test that needs them: testkit/src/tls.rs starts this.
#
# Usage: scripts/tls-servers.sh FOLDER    with server.pem and server.key in the folder
#
# Prints one line when both are there, POSTGRES_URL BROKER_AUTHORITY BROKER_TLS_PORT, and stops them when its standard
# input ends, which it also does when the test is killed. Exits with 3 when the servers are not installed.

set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/services.sh

data=$(realpath "$1")
# shellcheck disable=SC2034 # for services.sh
SERVERS_TLS=$data
postgres_programs >/dev/null && rabbitmq_program >/dev/null && command -v curl >/dev/null || exit 3

trap 'stop_rabbitmq KILL; stop_postgres' EXIT
trap 'exit 1' INT TERM HUP

mkdir "$data/logs"
lock_ports
start_postgres "$data" disposable
start_rabbitmq "$data"
unlock_ports

echo "$POSTGRES_URL $BROKER_AUTHORITY $BROKER_TLS_PORT"
cat >/dev/null
