# shellcheck shell=bash
#
# Private PostgreSQL and RabbitMQ instances for test.sh and dev.sh, which source this file.
#
# Each instance lives in a folder of its own, listens on free ports of the loopback interface and shares nothing with
# a server of the machine. The script that started one is its owner and stops it by its process id; should the script
# be killed, the kernel stops it (see `launch`). A folder can be used again: its data is still there.
#
# Functions print what went wrong and return 1; the scripts decide what that means.

# How long a server may take to start or to stop.
readonly SERVER_DEADLINE_SECONDS=90

# Set by start_postgres. POSTGRES_URL is the maintenance database; the role may create others.
POSTGRES_PID='' POSTGRES_URL=''
# Set by start_rabbitmq. The AMQP URL of a virtual host is amqp://$BROKER_AUTHORITY/<virtual host>.
BROKER_PID='' BROKER_AUTHORITY='' BROKER_ADMIN_URL='' BROKER_TLS_PORT=''
EPMD_PID=''

# A folder with server.pem and server.key: servers that are started afterwards speak TLS too, on PostgreSQL's port and
# on BROKER_TLS_PORT.
SERVERS_TLS=''
# For start_rabbitmq: a file with more of its configuration, and its administrator where that loads users.
BROKER_CONFIG='' BROKER_ADMINISTRATOR=guest:guest

# A free port: a broker that is started afterwards serves its metrics there, by its Prometheus plugin.
BROKER_METRICS_PORT=''

complain() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# --- Conditions and ports ----------------------------------------------------------------------------------------

# wait_until SECONDS COMMAND…: asks until the command succeeds. 1 when the time is over.
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" &>/dev/null; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}

# The requests of the scripts stay on this machine, whatever proxy it is told to use.
request() {
    curl --noproxy '*' --fail --silent --max-time 10 "$@"
}

# On either loopback address: a port may belong to a program on one of them only.
port_is_busy() {
    { : <>"/dev/tcp/127.0.0.1/$1" || : <>"/dev/tcp/::1/$1"; } 2>/dev/null
}

# free_ports COUNT: that many different ones, on one line. Below 32768, where the kernel gives out none by itself.
free_ports() {
    local -A found=()
    local port
    while ((${#found[@]} < $1)); do
        port=$((20000 + SRANDOM % 12000))
        port_is_busy "$port" || found[$port]=1
    done
    echo "${!found[@]}"
}

# A free port is free until somebody listens on it. Two scripts at once must not choose the same one, so choosing and
# listening happen under a lock. The lock is on the folder for temporary files: everyone can open it, nothing is left.
lock_ports() {
    exec {PORTS_LOCK}</tmp
    flock --timeout $((2 * SERVER_DEADLINE_SECONDS)) "$PORTS_LOCK" || complain 'going on without the lock of the ports'
}

# Unlocks before it closes: the servers started meanwhile have inherited the open file.
unlock_ports() {
    flock --unlock "$PORTS_LOCK"
    exec {PORTS_LOCK}<&-
}

# --- Processes ---------------------------------------------------------------------------------------------------

# launch USER FOLDER LOG COMMAND…: starts a background process in the folder and leaves its id in LAUNCHED.
#
# In a session of its own, so that Ctrl+C reaches only the script, which then stops everything in order. As root it
# runs as USER where there is one: PostgreSQL insists, and RabbitMQ has no need of root either.
launch() {
    local user=$1 folder=$2 log=$3
    shift 3
    local -a identity=()
    if ((EUID == 0)) && id "$user" &>/dev/null; then
        identity=(--reuid "$user" --regid "$user" --init-groups)
    fi
    { cd "$folder" && exec setsid setpriv "${identity[@]}" --pdeathsig TERM -- "$@"; } </dev/null >>"$log" 2>&1 &
    LAUNCHED=$!
}

# A process, or with a minus before the id a process group.
is_running() {
    kill -0 -- "$1" 2>/dev/null
}

is_gone() {
    ! is_running "$1"
}

# stop_process PID [SIGNAL]: waits for the end, by force when the deadline has passed. An empty PID is nothing to stop.
stop_process() {
    local pid=$1 signal=${2:-TERM}
    [[ -n $pid ]] || return 0
    kill -s "$signal" "$pid" 2>/dev/null || true
    # Silent: the shell would announce a killed process by its whole command line.
    if ! wait_until "$SERVER_DEADLINE_SECONDS" is_gone "$pid" 2>/dev/null; then
        complain "process $pid ignores $signal, killing it"
        kill -s KILL "$pid" 2>/dev/null || true
    fi
    wait "$pid" 2>/dev/null || true
}

# await_server NAME PID LOG COMMAND…: until the command succeeds. When the process ends first, or the deadline passes,
# shows the end of the log.
await_server() {
    local name=$1 pid=$2 log=$3
    shift 3
    if wait_until "$SERVER_DEADLINE_SECONDS" answers_or_is_gone "$pid" "$@" && is_running "$pid"; then
        return 0
    fi
    show_log "$name did not start" "$log"
    return 1
}

# show_log MESSAGE LOG: the message and the end of the log.
show_log() {
    complain "$1; the end of $2:"
    tail -n 20 "$2" | sed 's/^/    /' >&2
}

answers_or_is_gone() {
    local pid=$1
    shift
    "$@" || is_gone "$pid"
}

# server_folder FOLDER USER: makes it, and as root gives it to the user that `launch` runs the server as.
server_folder() {
    local folder=$1 user=$2
    mkdir -p "$folder"
    ((EUID == 0)) && id "$user" &>/dev/null || return 0
    chown "$user:" "$folder"
    chmod go+x "$folder/.." # private folders for temporary files are closed to everyone else
    if ! setpriv --reuid "$user" --regid "$user" --init-groups -- test -w "$folder"; then
        complain "as root the server runs as the user $user, who cannot reach $folder: choose another data folder"
        return 1
    fi
}

# tls_files FOLDER USER: copies of the certificate and the key that only the server can read, as both insist.
tls_files() {
    install -m 0644 "$SERVERS_TLS/server.pem" "$1/server.pem"
    install -m 0600 "$SERVERS_TLS/server.key" "$1/server.key"
    ((EUID == 0)) && id "$2" &>/dev/null || return 0
    chown "$2:" "$1/server.pem" "$1/server.key"
}

# --- Installation ------------------------------------------------------------------------------------------------

# The folder of PostgreSQL's programs; the newest where there are several. Debian keeps them out of PATH.
postgres_programs() {
    local folder newest=''
    for folder in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort --version-sort); do
        [[ ! -x $folder/initdb ]] || newest=$folder
    done
    if [[ -z $newest ]] && command -v initdb >/dev/null; then
        newest=$(dirname "$(realpath "$(command -v initdb)")")
    fi
    [[ -n $newest ]] && echo "$newest"
}

# RabbitMQ's own start script. Not Debian's /usr/sbin/rabbitmq-server, which insists on the system's user and folders.
rabbitmq_program() {
    local program
    for program in /usr/lib/rabbitmq/bin/rabbitmq-server "$(command -v rabbitmq-server)"; do
        [[ -x $program ]] && echo "$program" && return
    done
    return 1
}

# Makes sure of both servers and of what this file needs to watch them. As root it installs what is missing.
ensure_servers() {
    local -a missing=()
    postgres_programs >/dev/null || missing+=(postgresql)
    rabbitmq_program >/dev/null || missing+=(rabbitmq-server)
    command -v curl >/dev/null || missing+=(curl)
    ((${#missing[@]})) || return 0
    install_packages "${missing[@]}"
}

# install_packages NAME…: from the distribution, as root. The packages would start servers of the machine on the
# standard ports; the policy file tells them not to, unless the machine has a policy already.
install_packages() {
    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
        complain "not installed: $*"
        return 1
    fi
    echo "Installing $* from the distribution's packages."
    (
        policy=/usr/sbin/policy-rc.d
        log=$(mktemp)
        trap 'rm -f "$log"' EXIT
        if [[ ! -e $policy ]]; then
            trap 'rm -f "$log" "$policy"' EXIT
            printf '#!/bin/sh\nexit 101\n' >"$policy"
            chmod 755 "$policy"
        fi
        export DEBIAN_FRONTEND=noninteractive
        if ! { apt-get update && apt-get install -y --no-install-recommends "$@"; } >"$log" 2>&1 </dev/null; then
            show_log "apt-get could not install $*" "$log"
            exit 1
        fi
    )
}

# --- PostgreSQL --------------------------------------------------------------------------------------------------

# start_postgres DATA durable|disposable: disposable trades safety in a crash for speed, for data that nobody keeps.
#
# It trusts who connects: only this machine can, and the data is sample data.
start_postgres() {
    local data=$1 durability=$2
    local folder=$data/postgres log=$data/logs/postgres.log programs
    local -a options=(-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=400)
    if [[ $durability == disposable ]]; then
        options+=(-c fsync=off -c synchronous_commit=off -c full_page_writes=off)
    fi
    programs=$(postgres_programs) || return
    server_folder "$folder" postgres || return
    if [[ -n $SERVERS_TLS ]]; then
        tls_files "$folder" postgres
        options+=(-c ssl=on -c "ssl_cert_file=$folder/server.pem" -c "ssl_key_file=$folder/server.key")
    fi

    # Made under another name, so that a folder called `data` is always a complete one.
    if [[ ! -d $folder/data ]]; then
        rm -rf "$folder/data.new"
        launch postgres "$folder" "$log" "$programs/initdb" --pgdata data.new --username postgres --auth trust \
            --encoding UTF8 --no-locale
        if ! wait "$LAUNCHED"; then
            show_log "initdb failed" "$log"
            return 1
        fi
        mv "$folder/data.new" "$folder/data"
    fi

    local port
    port=$(free_ports 1)
    launch postgres "$folder" "$log" "$programs/postgres" -D data -p "$port" "${options[@]}"
    POSTGRES_PID=$LAUNCHED
    POSTGRES_URL=postgres://postgres@127.0.0.1:$port/postgres
    await_server PostgreSQL "$POSTGRES_PID" "$log" "$programs/pg_isready" --quiet --dbname "$POSTGRES_URL"
}

# create_database NAME, unless it is there.
create_database() {
    local -a psql=("$(postgres_programs)/psql" -X --quiet --tuples-only --no-align --dbname "$POSTGRES_URL")
    [[ $("${psql[@]}" --command "SELECT 1 FROM pg_database WHERE datname = '$1'") == 1 ]] ||
        "${psql[@]}" --command "CREATE DATABASE \"$1\""
}

stop_postgres() {
    stop_process "$POSTGRES_PID" INT # "fast": it does not wait for clients to leave
    POSTGRES_PID=''
}

# --- RabbitMQ ----------------------------------------------------------------------------------------------------

# start_rabbitmq DATA: a node with its management API.
#
# Its name stays the same, because its data belongs to the name. Nodes are told apart by a port mapper (epmd) of their
# own; the one that Erlang would start by itself is shared by the machine and outlives the node.
start_rabbitmq() {
    local data=$1
    local folder=$data/rabbitmq log=$data/logs/rabbitmq.log program port admin_port dist_port epmd_port
    program=$(rabbitmq_program) || return
    server_folder "$folder" rabbitmq || return
    read -r port admin_port dist_port epmd_port BROKER_TLS_PORT < <(free_ports 5)

    local plugins=rabbitmq_management
    [[ -z $BROKER_METRICS_PORT ]] || plugins+=,rabbitmq_prometheus
    echo "[$plugins]." >"$folder/enabled_plugins"
    cat >"$folder/rabbitmq.conf" <<CONF
listeners.tcp.1 = 127.0.0.1:$port
management.tcp.ip = 127.0.0.1
management.tcp.port = $admin_port
CONF
    if [[ -n $BROKER_METRICS_PORT ]]; then
        cat >>"$folder/rabbitmq.conf" <<CONF
prometheus.tcp.ip = 127.0.0.1
prometheus.tcp.port = $BROKER_METRICS_PORT
CONF
    fi
    if [[ -n $SERVERS_TLS ]]; then
        tls_files "$folder" rabbitmq
        cat >>"$folder/rabbitmq.conf" <<CONF
listeners.ssl.1 = 127.0.0.1:$BROKER_TLS_PORT
ssl_options.certfile = $folder/server.pem
ssl_options.keyfile = $folder/server.key
CONF
    fi

    [[ -z $BROKER_CONFIG ]] || cat "$BROKER_CONFIG" >>"$folder/rabbitmq.conf"

    # An environment of its own: variables of the caller and the files in /etc/rabbitmq configure other nodes.
    # The home folder holds the cookie. RUNNING_UNDER_SYSTEMD has the start script become the node instead of its
    # parent, so that the id is the node's.
    local -a environment=(
        env --ignore-environment
        PATH="$PATH" LANG=C.UTF-8 HOME="$folder"
        ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT="$epmd_port" ERL_CRASH_DUMP="$folder/erl_crash.dump"
        RUNNING_UNDER_SYSTEMD=true
        RABBITMQ_NODENAME=tandem@localhost
        RABBITMQ_DIST_PORT="$dist_port"
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}'
        RABBITMQ_CONF_ENV_FILE=/dev/null
        RABBITMQ_CONFIG_FILE="$folder/rabbitmq.conf"
        RABBITMQ_ADVANCED_CONFIG_FILE="$folder/advanced.config"
        RABBITMQ_ENABLED_PLUGINS_FILE="$folder/enabled_plugins"
        RABBITMQ_GENERATED_CONFIG_DIR="$folder/generated"
        RABBITMQ_MNESIA_BASE="$folder"
        RABBITMQ_LOG_BASE="$folder"
        RABBITMQ_LOGS=-
    )
    launch rabbitmq "$folder" "$log" "${environment[@]}" epmd
    EPMD_PID=$LAUNCHED
    await_server epmd "$EPMD_PID" "$log" port_is_busy "$epmd_port" || return
    launch rabbitmq "$folder" "$log" "${environment[@]}" "$program"
    BROKER_PID=$LAUNCHED

    # shellcheck disable=SC2034 # for the scripts
    BROKER_AUTHORITY=$BROKER_ADMINISTRATOR@127.0.0.1:$port
    BROKER_ADMIN_URL=http://$BROKER_ADMINISTRATOR@127.0.0.1:$admin_port
    # The management API comes up before the listener: ask it for the listener.
    await_server RabbitMQ "$BROKER_PID" "$log" request "$BROKER_ADMIN_URL/api/health/checks/port-listener/$port"
}

# stop_rabbitmq TERM|KILL: TERM takes six seconds; KILL is for data that nobody keeps.
stop_rabbitmq() {
    stop_process "$BROKER_PID" "$1"
    stop_process "$EPMD_PID"
    BROKER_PID='' EPMD_PID=''
}
