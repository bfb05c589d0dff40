# shellcheck shell=bash
#
# The system in Docker, for dev.sh, which sources this file after services.sh.
#
# Nothing here waits on its own: Compose knows from docker-compose.yml what healthy means, and in which order things
# start. What is added is what a person needs: why it cannot start, that an order gets its invoice, where everything is.

# The first engine that can probe more often while a container starts, and a Compose that tells it so.
readonly ENGINE_API=1.44 COMPOSE_VERSION=2.24.0

# The ports of this machine that the containers listen on; infra/test compares them with docker-compose.yml.
readonly -A PUBLISHED_PORTS=(
    [always]='8000 8001 8002 5672 15672 16686 4318'
    [observability]='9090 9093 3000'
    [direct]='3333 3334 4000 5432'
)
readonly START_SECONDS=600
readonly GATEWAY=http://localhost:8000

compose_up() {
    local build=yes
    local -a compose=(docker compose) parts=(always)
    while (($#)); do
        case $1 in
            --observability) parts+=(observability) ;;
            --direct) parts+=(direct) ;;
            --no-build) build=no ;;
            *) refuse_option "$1" ;;
        esac
        shift
    done
    if [[ " ${parts[*]} " == *' direct '* ]]; then
        compose+=(--file docker-compose.yml --file docker-compose.direct.yml)
    fi
    if [[ " ${parts[*]} " == *' observability '* ]]; then
        compose+=(--profile observability)
    fi
    local -a up=(up --detach --wait --wait-timeout "$START_SECONDS")
    [[ $build == no ]] || up+=(--build)

    require_docker
    refuse_taken_ports "${parts[@]}"
    if ! "${compose[@]}" "${up[@]}"; then
        complain 'the system did not become healthy; what does not run, and the last lines of all logs:'
        "${compose[@]}" ps --all >&2 || true
        "${compose[@]}" logs --no-color --tail 15 >&2 || true
        complain 'it is left as it is: ./dev.sh logs shows more, ./dev.sh down takes it away'
        exit 1
    fi
    place_order
    print_addresses "${parts[@]}"
}

# Every part, whichever were started.
compose_all() {
    require_docker
    docker compose --file docker-compose.yml --file docker-compose.direct.yml --profile '*' "$@"
}

compose_down() {
    local -a down=(down --remove-orphans)
    while (($#)); do
        case $1 in
            --volumes) down+=(--volumes) ;;
            *) refuse_option "$1" ;;
        esac
        shift
    done
    compose_all "${down[@]}"
}

compose_logs() {
    local name
    for name in "$@"; do
        [[ $name != -* ]] || refuse_option "$name"
    done
    compose_all logs --follow --tail 100 "$@"
}

refuse_option() {
    case $1 in
        --data | --*-port | --release) refuse "$1 is for ./dev.sh --local: in Docker the ports and the data are those of docker-compose.yml" ;;
        *) refuse "unknown option $1; ./dev.sh --help lists them" ;;
    esac
}

require_docker() {
    local without='Without Docker: ./dev.sh --local (PostgreSQL and RabbitMQ as processes) or cargo run (nothing else at all)'
    command -v docker >/dev/null || refuse "Docker is not installed. $without"
    local api version
    api=$(docker version --format '{{.Server.APIVersion}}' 2>/dev/null) ||
        refuse "Docker's daemon does not answer: start it, or see that you may use it (docker info). $without"
    is_at_least "$ENGINE_API" "$api" || refuse "Docker is too old (API $api): version 25 or later is needed"
    version=$(docker compose version --short 2>/dev/null) ||
        refuse 'Docker Compose is not installed: it is the plugin docker-compose-plugin of Docker'
    is_at_least "$COMPOSE_VERSION" "${version#v}" || refuse "Docker Compose is too old ($version): $COMPOSE_VERSION or later is needed"
    command -v curl >/dev/null || refuse 'curl is not installed'
}

# is_at_least WANTED GIVEN
is_at_least() {
    [[ $(printf '%s\n' "$1" "$2" | sort --version-sort | head -n 1) == "$1" ]]
}

# Docker names one port, after minutes of building. Ports of a system that runs already are its own.
refuse_taken_ports() {
    [[ -z $(docker compose --profile '*' ps --quiet 2>/dev/null) ]] || return 0
    local part port taken=''
    for part in "$@"; do
        for port in ${PUBLISHED_PORTS[$part]}; do
            if port_is_busy "$port"; then taken+="${taken:+, }$port"; fi
        done
    done
    [[ -z $taken ]] || refuse "in use by other programs: $taken. Stop them: docker-compose.yml publishes these ports"
}

# Through the gateway, until its invoice is there: that shows every part at work.
place_order() {
    local answer status order
    local -a headers=(--header 'content-type: application/json')
    [[ -z ${TANDEM_TOKEN:-} ]] || headers+=(--header "authorization: Bearer $TANDEM_TOKEN")
    answer=$(curl --noproxy '*' --silent --max-time 10 --write-out '\n%{http_code}' "${headers[@]}" \
        --data '{"amount":1999}' "$GATEWAY/orders") || true
    status=${answer##*$'\n'}
    if [[ $status == 401 && -z ${TANDEM_TOKEN:-} ]]; then
        echo
        echo 'The gateway asks for tokens, so no order was placed: TANDEM_TOKEN=… ./dev.sh does it with yours.'
        return
    fi
    [[ $status == 201 && $answer =~ \"id\":\"([0-9a-f-]{36})\" ]] ||
        fail "the gateway did not take an order; it answered ${answer:-nothing}"
    order=${BASH_REMATCH[1]}
    wait_until 60 has_invoice "$order" "${headers[@]}" ||
        fail "the order $order has no invoice after a minute; ./dev.sh logs invoices"
    echo
    echo "Placed the order $order through the gateway, and its invoice was issued."
}

# has_invoice ORDER CURL-OPTIONS…
has_invoice() {
    local order=$1
    shift
    request "$@" --data "{\"query\":\"{ order(id: \\\"$order\\\") { invoice { number } } }\"}" "$GATEWAY/graphql" |
        grep --quiet '"number":"INV-'
}

fail() {
    complain "$*"
    exit 1
}

print_addresses() {
    cat <<TEXT

Tandem runs in Docker. ./dev.sh logs follows it, ./dev.sh down stops it; the data stays.

  Console      $GATEWAY/console
  Playground   $GATEWAY/playground
  GraphQL      $GATEWAY/graphql        ws://localhost:8000/graphql/ws
  REST         $GATEWAY/orders         $GATEWAY/invoices
  API docs     $GATEWAY/orders/docs    $GATEWAY/invoices/docs
  Traces       http://localhost:16686
  RabbitMQ     http://localhost:15672         admin / admin
  Gateway      http://localhost:8002          its administration: http://localhost:8001
TEXT
    local part
    for part in "$@"; do
        case $part in
            observability)
                echo '  Grafana      http://localhost:3000          admin / admin, to change something'
                echo '  Prometheus   http://localhost:9090          http://localhost:9093 Alertmanager'
                ;;
            direct)
                echo '  Directly     http://localhost:3333/orders   http://localhost:3334/invoices   http://localhost:4000/graphql'
                echo '  PostgreSQL   postgres://orders:orders@localhost:5432/orders   postgres://invoices:invoices@localhost:5432/invoices'
                ;;
        esac
    done
    [[ " $* " == *' observability '* ]] || echo '  (./dev.sh --observability adds Grafana, Prometheus and Alertmanager)'
    cat <<TEXT

  Try:   curl $GATEWAY/orders -H 'content-type: application/json' -d '{"amount": 100}'
  Scale: docker compose up --detach --no-recreate --scale orders=3 --scale invoices=3 --scale bff=3
TEXT
}
