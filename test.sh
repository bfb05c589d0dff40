#!/usr/bin/env bash
#
# Tests everything: the README's one test command, and CI's.
#
# The workspace's tests run twice: on SQLite with the in-process bus, which needs only Rust, and on PostgreSQL with
# RabbitMQ. The second half takes the servers it is given, or else starts instances of its own in a folder for
# temporary files, on free ports, and leaves nothing behind: two runs on one machine do not meet.

set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")"
source scripts/services.sh

usage() {
    cat <<'HELP'
Usage: ./test.sh [--fast | --only PART,PART…] [-- ARGUMENTS OF cargo test]

  --fast    only format, clippy and sqlite; needs only Rust
  --only    some of the parts, for CI, which runs them side by side:
            format, clippy, sqlite, servers, faults, contracts, rest, gateway, observability, pages, playground, packaging,
            infrastructure, scripts, dependencies
  --help    this text

The tests on PostgreSQL and RabbitMQ use, in this order:
  1. TEST_DATABASE_URL  a PostgreSQL role that may create databases
     TEST_BROKER_URL    an amqp:// URL of a user that may create virtual hosts
     TEST_BROKER_ADMIN_URL  the management API; default: port 15672 of the broker's host
  2. instances of their own, from the distribution's packages, which root has installed when they are missing.
Where there is neither, they are skipped, and the table at the end says so. With CI=true a skip is a failure.
HELP
}

# One row a step: name, result, seconds, remark; separated by tabs.
rows=()
failed=no
data=''
step_pid=''
# What --only names; empty: everything.
only=''

main() {
    while (($#)); do
        case $1 in
            --fast) only=format,clippy,sqlite ;;
            --only)
                (($# > 1)) || { usage >&2 && exit 2; }
                only=$2
                refuse_unknown_parts
                shift
                ;;
            --help | -h) usage && exit ;;
            --) shift && break ;;
            *) usage >&2 && exit 2 ;;
        esac
        shift
    done
    if [[ -n ${TEST_DATABASE_URL:-} && -z ${TEST_BROKER_URL:-} || -z ${TEST_DATABASE_URL:-} && -n ${TEST_BROKER_URL:-} ]]; then
        complain 'give both TEST_DATABASE_URL and TEST_BROKER_URL, or none of them'
        exit 2
    fi
    local -a cargo_test=(cargo test --workspace --locked "$@")

    # Temporary files of every step go here, so that nothing is left of one that is interrupted either. The servers,
    # which are other users when this is root, pass through it to their own folders.
    data=$(mktemp -d -t tandem-test.XXXXXX)
    chmod go+x "$data"
    export TMPDIR=$data

    trap finish EXIT
    trap 'interrupt 129' HUP
    trap 'interrupt 130' INT
    trap 'interrupt 143' TERM

    part format step 'formatting' cargo fmt --all --check
    part clippy step 'clippy' cargo clippy --workspace --all-targets --locked -- -D warnings
    part sqlite step 'tests: SQLite, in-process bus' \
        env -u TEST_DATABASE_URL -u TEST_BROKER_URL -u TEST_BROKER_ADMIN_URL "${cargo_test[@]}"
    part servers check_servers "${cargo_test[@]}"
    part faults check_faults
    part contracts check_contracts
    part rest check_rest
    part gateway check_gateway
    part observability check_observability
    part pages check_pages
    part playground check_playground
    part packaging check_packaging
    part infrastructure check_infrastructure
    part scripts check_scripts
    part dependencies check_dependencies
}

# The names in `main`, which stand there once.
parts() {
    sed -n 's/^    part \([a-z]*\) .*/\1/p' "${BASH_SOURCE[0]}"
}

refuse_unknown_parts() {
    local name
    for name in ${only//,/ }; do
        if ! parts | grep --quiet --line-regexp -- "$name"; then
            complain "--only: there is no part $name; the parts are: $(parts | tr '\n' ' ')"
            exit 2
        fi
    done
}

# part NAME COMMAND…: unless --only names others. What comes after the tests on SQLite starts programs, which are built
# once before the first of them.
part() {
    [[ -z $only || ,$only, == *,$1,* ]] || return 0
    case $1 in
        format | clippy | sqlite | infrastructure | scripts | dependencies) ;;
        *) build_programs ;;
    esac
    "${@:2}"
}

programs_built=no
build_programs() {
    [[ $programs_built == no ]] || return 0
    programs_built=yes
    step 'build' cargo build --workspace --locked
}

# --- The steps ---------------------------------------------------------------------------------------------------

# check_servers COMMAND…: the tests, on what provide_servers provides. Steps after it use the same servers.
check_servers() {
    if provide_servers; then
        step 'tests: PostgreSQL, RabbitMQ' "$@"
    else
        skip 'tests: PostgreSQL, RabbitMQ' 'no TEST_DATABASE_URL and TEST_BROKER_URL, and not installed here'
    fi
}

# Exports TEST_DATABASE_URL, TEST_BROKER_URL and TEST_BROKER_ADMIN_URL; starts what was not given.
provide_servers() {
    local started=$SECONDS
    if [[ -n ${TEST_DATABASE_URL:-} ]]; then
        export TEST_BROKER_ADMIN_URL=${TEST_BROKER_ADMIN_URL:-$(admin_url_of "$TEST_BROKER_URL")}
        return 0
    fi
    ensure_servers || return
    mkdir "$data/logs"
    lock_ports
    if ! { start_postgres "$data" disposable && start_rabbitmq "$data"; }; then
        record 'PostgreSQL and RabbitMQ' failed "$started"
        exit 1
    fi
    unlock_ports
    record 'PostgreSQL and RabbitMQ' started "$started"
    export TEST_DATABASE_URL=$POSTGRES_URL TEST_BROKER_URL=amqp://$BROKER_AUTHORITY TEST_BROKER_ADMIN_URL=$BROKER_ADMIN_URL
}

# amqp://user:password@host:port/vhost → http://user:password@host:15672
admin_url_of() {
    local authority=${1#*://}
    authority=${authority%%/*}
    [[ $authority == *@* ]] || authority=guest:guest@$authority
    local host=${authority##*@}
    echo "http://${authority%@*}@${host%:*}:15672"
}

# Servers of its own even where some were given: it kills them. The same plan each time, so that a failure is the
# change's and not the plan's; other seeds are for whoever looks for trouble.
check_faults() {
    if command -v setpriv >/dev/null && ensure_servers; then
        step 'faults, the short form' "${CARGO_TARGET_DIR:-target}/debug/faults" --short --no-build --seed 7
    else
        skip 'faults, the short form' 'PostgreSQL or RabbitMQ are not installed here'
    fi
}

check_contracts() {
    if ! { command -v npm >/dev/null || install_packages nodejs npm; }; then
        skip 'contracts' 'npm is not installed'
        return
    fi
    step 'contracts: packages' install_node_packages contracts
    step 'contracts: composition' npm --prefix contracts run --silent test:composition
    step 'contracts: GraphQL over HTTP' npm --prefix contracts run --silent test:graphql-http
    # The gateway's demand and not ours: its absence fails nothing, CI included.
    if node_is_at_least v20.17.0; then
        step 'contracts: a Federation gateway' npm --prefix contracts run --silent test:differential
    else
        skip_for_node 'contracts: a Federation gateway' v20.17.0
    fi
    step 'contracts: events' npm --prefix contracts run --silent test:asyncapi
    step 'contracts: clients of the API' npm --prefix contracts run --silent test:clients
    if ensure_servers; then
        step 'contracts: a plain Node client' npm --prefix contracts run --silent test:amqplib
    else
        skip 'contracts: a plain Node client' 'PostgreSQL or RabbitMQ are not installed here'
    fi
}

# The REST APIs against their documents. Schemathesis is a Python program, which is installed beside what cargo builds, once
# for each list of requirements. Without Python or its package index there is none, which fails nothing, CI included.
check_rest() {
    local requirements=contracts/checks/rest/requirements.txt sum folder
    sum=$(sha256sum <"$requirements")
    folder=${CARGO_TARGET_DIR:-target}/schemathesis-${sum:0:16}
    if command -v npm >/dev/null; then
        step 'REST: packages' install_node_packages chassis/swagger-ui
        step 'REST: Swagger UI is as published' npm --prefix chassis/swagger-ui run --silent check
    else
        skip 'REST' 'npm is not installed'
        return
    fi
    if install_python_packages "$folder" "$requirements"; then
        step 'REST: requests of all kinds' \
            env SCHEMATHESIS="$(realpath "$folder")/bin/schemathesis" npm --prefix contracts run --silent test:rest
    else
        record 'REST: requests of all kinds' skipped "$SECONDS" 'Schemathesis cannot be installed: no Python, or no index'
    fi
}

# install_python_packages FOLDER REQUIREMENTS: a folder of its own, complete or not there.
install_python_packages() {
    [[ ! -e $1/complete ]] || return 0
    rm -rf "$1"
    python3 -m venv "$1" && "$1/bin/pip" install --quiet --disable-pip-version-check --requirement "$2" &&
        touch "$1/complete" && return
    rm -rf "$1"
    return 1
}

# The configuration without Kong, wherever there is Node; with the image's own Kong, where there is Docker, whose absence
# fails nothing.
check_gateway() {
    if ! command -v npm >/dev/null; then
        skip 'gateway: configuration' 'npm is not installed'
        return
    fi
    step 'gateway: packages' install_node_packages kong/test
    step 'gateway: configuration' npm --prefix kong/test run --silent test
    if docker info &>/dev/null; then
        step 'gateway: image' kong/test/image.sh
    else
        record 'gateway: image' skipped "$SECONDS" 'there is no Docker here'
    fi
}

# Rules, alerts, routing and dashboards; then the whole system with everything that watches it, in which every panel has to
# show something.
check_observability() {
    if ! command -v npm >/dev/null; then
        skip 'observability' 'npm is not installed'
        return
    fi
    if ! { has_watchers || install_packages prometheus prometheus-alertmanager prometheus-postgres-exporter; }; then
        skip 'observability' 'Prometheus, Alertmanager or the exporter of PostgreSQL are not installed here'
        return
    fi
    step 'observability: packages' install_node_packages infra/observability
    step 'observability: configuration' npm --prefix infra/observability run --silent test
    if ensure_servers; then
        step 'observability: no dead panel' npm --prefix infra/observability run --silent test:live
    else
        skip 'observability: no dead panel' 'PostgreSQL or RabbitMQ are not installed here'
    fi
}

# By their names in Debian.
has_watchers() {
    local program
    for program in prometheus promtool amtool prometheus-alertmanager prometheus-postgres-exporter; do
        command -v "$program" >/dev/null || return
    done
}

# The console and the playground as a browser shows them.
check_pages() {
    if ! command -v npm >/dev/null; then
        skip 'pages: in a browser' 'npm is not installed'
        return
    fi
    if ! { [[ -x ${CHROMIUM:-/usr/bin/chromium} ]] || install_packages chromium; }; then
        skip 'pages: in a browser' 'Chromium is not installed'
        return
    fi
    step 'pages: packages' install_node_packages bff/web/tests
    step 'pages: in a browser' npm --prefix bff/web/tests run --silent test
    if ensure_servers; then
        step 'pages: while invoices is down' npm --prefix bff/web/tests run --silent test:outage
    else
        skip 'pages: while invoices is down' 'PostgreSQL or RabbitMQ are not installed here'
    fi
}

# The committed build of the playground is what its sources give.
check_playground() {
    if ! command -v npm >/dev/null; then
        skip 'playground: build' 'npm is not installed'
        return
    fi
    # The bundler's demand and not ours: its absence fails nothing, CI included.
    if ! node_is_at_least v20.19.0; then
        skip_for_node 'playground: build' v20.19.0
        return
    fi
    step 'playground: packages' install_node_packages bff/web/playground
    step 'playground: build' npm --prefix bff/web/playground run --silent check
}

# The stacks on AWS as Pulumi would plan them, without AWS: types, plans, policies, and the scripts that prepare databases
# and broker, on the servers of the tests.
check_infrastructure() {
    if ! command -v npm >/dev/null; then
        skip 'infrastructure' 'npm is not installed'
        return
    fi
    # Pulumi's demand and not ours: its absence fails nothing, CI included.
    if ! node_is_at_least v20.19.0; then
        skip_for_node 'infrastructure' v20.19.0
        return
    fi
    step 'infrastructure: packages' install_node_packages infra/aws
    step 'infrastructure: types' npm --prefix infra/aws run --silent check
    step 'infrastructure: plans' npm --prefix infra/aws run --silent test
}

# install_node_packages FOLDER: only when they are not there or not current, and under a lock: runs in one checkout
# share the folder.
install_node_packages() {
    exec {PACKAGES_LOCK}<"$1"
    flock "$PACKAGES_LOCK"
    [[ $1/node_modules/.package-lock.json -nt $1/package-lock.json ]] ||
        npm --prefix "$1" ci --no-audit --no-fund
}

node_is_at_least() {
    [[ $(printf '%s\n' "$1" "$(node --version)" | sort --version-sort | head -n 1) == "$1" ]]
}

# skip_for_node STEP VERSION
skip_for_node() {
    record "$1" skipped "$SECONDS" "its packages need Node $2, and this is $(node --version)"
}

# What the images, docker-compose.yml, the workflows and the programs say about each other, and the tools of others that
# know such files. The tools come from npm and from Python's index, as Schemathesis does, and their absence fails nothing.
check_packaging() {
    if ! command -v npm >/dev/null; then
        skip 'packaging' 'npm is not installed'
        return
    fi
    step 'packaging: packages' install_node_packages infra/test
    step 'packaging: all agree' npm --prefix infra/test run --silent test
    step 'packaging: the scripts' npm --prefix infra/test run --silent test:scripts
    if ensure_servers; then
        step 'packaging: the accounts' npm --prefix infra/test run --silent test:accounts
    else
        skip 'packaging: the accounts' 'PostgreSQL or RabbitMQ are not installed here'
    fi

    local requirements=infra/test/requirements.txt sum tools
    sum=$(sha256sum <"$requirements")
    tools=${CARGO_TARGET_DIR:-target}/packaging-${sum:0:16}
    if install_python_packages "$tools" "$requirements"; then
        step 'packaging: Dockerfiles' "$tools/bin/hadolint" --config infra/test/hadolint.yaml Dockerfile kong/Dockerfile
        step 'packaging: workflows' "$tools/bin/zizmor" --offline --no-progress --persona regular .github
    else
        record 'packaging: Dockerfiles' skipped "$SECONDS" 'hadolint cannot be installed: no Python, or no index'
        record 'packaging: workflows' skipped "$SECONDS" 'zizmor cannot be installed: no Python, or no index'
    fi
}

check_scripts() {
    if ! { command -v shellcheck >/dev/null || install_packages shellcheck; }; then
        skip 'shell scripts' 'shellcheck is not installed'
        return
    fi
    local -a scripts
    mapfile -t scripts < <(find . \( -name target -o -name node_modules -o -name data \) -prune -o -name '*.sh' -print)
    step 'shell scripts' shellcheck --external-sources .ci/run "${scripts[@]}"
}

# An extra tool of cargo, not part of Rust, and a registry that knows of vulnerabilities: their absence fails nothing, CI
# included.
check_dependencies() {
    if command -v cargo-deny >/dev/null; then
        step 'dependencies' cargo deny check bans licenses sources
    else
        record 'dependencies' skipped "$SECONDS" 'cargo-deny is not installed'
    fi
    if command -v npm >/dev/null && node scripts/npm-audit.mjs --probe >/dev/null; then
        step 'npm audit' node scripts/npm-audit.mjs
    else
        record 'npm audit' skipped "$SECONDS" 'no npm, or a registry that knows nothing of vulnerabilities'
    fi
}

# --- Running and reporting ---------------------------------------------------------------------------------------

# step NAME COMMAND…: the first that fails ends the run. The command is a job with a process group of its own, so
# that an interrupt reaches all of its processes at once, and at once.
step() {
    local name=$1 started=$SECONDS status=0
    shift
    printf '\n=== %s: %s\n' "$name" "$*"
    set -m
    "$@" </dev/null &
    step_pid=$!
    set +m
    wait "$step_pid" || status=$?
    step_pid=''
    if ((status)); then
        record "$name" failed "$started"
        exit 1
    fi
    record "$name" ok "$started"
}

skip() {
    record "$1" skipped "$SECONDS" "$2"
    if [[ ${CI:-} == true ]]; then
        failed=yes
    fi
}

record() {
    rows+=("$(printf '%s\t%s\t%d\t%s' "$1" "$2" $((SECONDS - $3)) "${4:-}")")
}

interrupt() {
    if [[ -n $step_pid ]]; then
        kill -TERM -- "-$step_pid" 2>/dev/null || true
        wait "$step_pid" 2>/dev/null || true
        # What it had started may need a moment more, a ./dev.sh for example.
        wait_until 20 is_gone "-$step_pid" || true
    fi
    exit "$1"
}

finish() {
    local status=$?
    trap '' HUP INT TERM
    stop_rabbitmq KILL
    stop_postgres
    rm -rf "$data"

    printf '\n%-34s %-8s %7s\n' step result seconds
    local row name result seconds remark
    for row in "${rows[@]}"; do
        IFS=$'\t' read -r name result seconds remark <<<"$row"
        printf '%-34s %-8s %7s  %s\n' "$name" "$result" "$seconds" "$remark"
    done
    if ((status)); then
        printf '\nStopped here: the steps after it did not run.\n'
    elif [[ $failed == yes ]]; then
        printf '\nIn CI a skip is a failure.\n'
        status=1
    fi
    exit "$status"
}

main "$@"
