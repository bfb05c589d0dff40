#!/usr/bin/env bash
#
# Entry point of the image: checks the environment, renders kong.template.yml, has Kong parse the result, and hands over
# to the image's own entry point.
#
#   start.sh kong docker-start   starts (the image's command)
#   start.sh check               renders and parses, and starts nothing
#   start.sh COMMAND…            anything else runs as it is
#
# What is wrong is told all at once, by name, and never with the value of a credential.

set -euo pipefail
shopt -s inherit_errexit
LC_ALL=C # ranges in patterns mean ASCII

template=$(dirname "${BASH_SOURCE[0]}")/kong.template.yml
rendered=${KONG_PREFIX:-/usr/local/kong}/kong.yml
stock_entrypoint=${KONG_STOCK_ENTRYPOINT:-/docker-entrypoint.sh}

# What the template's names stand for, and which of its parts are kept.
declare -A value_of=() holds=(
    [protected]=no [jwt_secret]=no [jwt_public_key]=no [partner]=no [partner_previous]=no [cors]=no [traces]=no
)
problems=()

main() {
    case "${1:-} ${2:-}" in
        'kong docker-start' | 'check ') ;;
        *) exec "$stock_entrypoint" "$@" ;;
    esac
    read_profile
    read_services
    read_limits
    read_origins
    read_traces
    if [[ ${holds[protected]} == yes ]]; then
        read_token_check
        read_partner
    fi
    check_kong_settings
    refuse_problems

    # Readable for this user only; everything else that Kong writes keeps the usual rights, or its workers, which may be
    # another user, cannot read it.
    local mask
    mask=$(umask)
    umask 077
    rm -f "$rendered"
    render >"$rendered"
    umask "$mask"
    kong config parse "$rendered"
    [[ ${1} != check ]] || exit 0

    # They are in the file now; no process from here on needs them.
    unset JWT_SECRET PARTNER_API_KEY PARTNER_API_KEY_PREVIOUS PARTNER_TOKEN
    export KONG_DECLARATIVE_CONFIG=$rendered
    exec "$stock_entrypoint" "$@"
}

# --- What the environment says -----------------------------------------------------------------------------------

problem() {
    problems+=("$*")
}

refuse_problems() {
    ((${#problems[@]})) || return 0
    {
        echo 'the gateway does not start, because of its environment:'
        printf -- '- %s\n' "${problems[@]}"
    } >&2
    exit 1
}

# demand NAME PATTERN WHAT-IS-ALLOWED: the variable must be set and match all through. Its value is told when it does not.
demand() {
    local given=${!1-}
    given=${given@Q}
    [[ $given != *@* ]] || given='the present value (not shown: it may hold a password)'
    check_value "$1" "$2" "$3" ", not $given"
}

# The same for a credential, whose value is never told.
demand_secret() {
    local given=${!1-}
    check_value "$1" "$2" "$3" "; it has ${#given} bytes"
}

check_value() {
    local name=$1 pattern=$2 allowed=$3 given=$4
    if [[ -z ${!name+set} ]]; then
        problem "$name is not set: it must be $allowed"
    elif [[ -z ${!name} ]]; then
        problem "$name is empty: it must be $allowed"
    elif [[ ! ${!name} =~ ^($pattern)$ ]]; then
        problem "$name must be $allowed$given"
    else
        value_of[$name]=${!name}
        return 0
    fi
    return 1
}

read_profile() {
    demand APP_ENV 'development|production' 'development or production' || true
    demand GATEWAY_PROFILE 'open|protected' 'open or protected' || return 0
    if [[ $GATEWAY_PROFILE == protected ]]; then
        holds[protected]=yes
    elif [[ ${APP_ENV:-} == production ]]; then
        problem 'GATEWAY_PROFILE=open is for local work and refused with APP_ENV=production: it must be protected'
    else
        echo 'GATEWAY_PROFILE=open: the gateway asks nobody for a token or a key. For local work only.' >&2
    fi
}

readonly HOST_PATTERN='[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?'

read_services() {
    local name
    for name in ORDERS_URL INVOICES_URL BFF_URL; do
        demand_url "$name" "the service's URL without a path, e.g. http://orders:3333"
    done
}

demand_url() {
    local name=$1
    demand "$name" "https?://$HOST_PATTERN(:[0-9]{1,5})?" "$2" || return 0
    local port=${!name##*:}
    if [[ $port != //* ]] && ((10#$port < 1 || 10#$port > 65535)); then
        problem "$name must have a port from 1 to 65535, not $port"
    fi
}

read_limits() {
    demand RATE_LIMIT_PER_MINUTE '[1-9][0-9]{0,6}' 'a number of requests from 1 to 9999999' || true
}

# From https://a.example,https://b.example to the items of a list in quotes. Not set or empty: no page of another origin.
read_origins() {
    [[ -n ${CORS_ORIGINS:-} ]] || return 0
    local origins=() origin list=''
    mapfile -t -d , origins < <(printf '%s,' "${CORS_ORIGINS,,}")
    for origin in "${origins[@]}"; do
        origin=${origin#"${origin%%[! ]*}"} origin=${origin%"${origin##*[! ]}"}
        [[ -n $origin ]] || continue
        if [[ ! $origin =~ ^https?://$HOST_PATTERN(:[0-9]{1,5})?$ ]]; then
            problem "CORS_ORIGINS must be origins like https://shop.example or http://localhost:5173, separated by commas," \
                "and never * (pages of any origin could then act for our users), not ${origin@Q}"
        fi
        list+="${list:+, }\"$origin\""
    done
    [[ -n $list ]] || return 0
    holds[cors]=yes
    value_of[CORS_ORIGINS]=$list
}

# Not set or empty: Kong records no spans, and passes on what traces come to it.
read_traces() {
    [[ -n ${OTEL_EXPORTER_OTLP_ENDPOINT:-} ]] || return 0
    holds[traces]=yes
    OTEL_EXPORTER_OTLP_ENDPOINT=${OTEL_EXPORTER_OTLP_ENDPOINT%/}
    demand_url OTEL_EXPORTER_OTLP_ENDPOINT 'the base URL of a collector for OTLP over HTTP, e.g. http://jaeger:4318'
    demand OTEL_TRACES_SAMPLER_ARG '1|1[.]0+|0[.][0-9]*[1-9][0-9]*' \
        'the share of new traces to record, above 0 and at most 1 (at 0 Kong would switch off all that come to it, too)' || true
    case ${KONG_TRACING_INSTRUMENTATIONS:-off} in
        off) problem 'KONG_TRACING_INSTRUMENTATIONS must not be off while OTEL_EXPORTER_OTLP_ENDPOINT is set: Kong would' \
            'tell every service not to record its part of any trace. Set it to request,router,balancer' ;;
    esac
}

# The variables of the services, which verify every token again.
read_token_check() {
    demand JWT_ISSUER '[A-Za-z0-9._~:/@+-]{1,255}' 'the claim iss of the tokens, a URL or a name of up to 255 characters' || true
    if [[ -n ${JWT_JWKS_FILE:-} ]]; then
        problem 'JWT_JWKS_FILE is set: Kong reads no JSON Web Key Set. Unset it here, and give the key that tokens are' \
            'signed with as JWT_PUBLIC_KEY_FILE, in PEM'
    elif [[ -n ${JWT_SECRET+set} && -n ${JWT_PUBLIC_KEY_FILE+set} ]]; then
        problem 'JWT_SECRET and JWT_PUBLIC_KEY_FILE are both set: give the one that tokens are signed with, and unset the other'
    elif [[ -n ${JWT_PUBLIC_KEY_FILE+set} ]]; then
        holds[jwt_public_key]=yes
        read_public_key
    else
        holds[jwt_secret]=yes
        demand_secret JWT_SECRET '[!-~]{32,1024}' \
            'the key of HS256, of 32 to 1024 printable ASCII characters without spaces (or set JWT_PUBLIC_KEY_FILE)' || true
        case ${JWT_SECRET:-} in
            *[\"\'\\]*) problem 'JWT_SECRET must have no quotes and no backslashes' ;;
        esac
    fi
}

# The algorithm follows from the kind of key, which the first bytes say (RFC 5280, section 4.1.2.7), as it does in the
# services: RSA of 2048 bits or more, P-256, Ed25519.
read_public_key() {
    demand JWT_PUBLIC_KEY_FILE '/.+' 'the path of a public key in PEM' || return 0
    local pem=''
    [[ ! -f $JWT_PUBLIC_KEY_FILE || ! -r $JWT_PUBLIC_KEY_FILE ]] || pem=$(<"$JWT_PUBLIC_KEY_FILE")
    pem=${pem//$'\r'/}
    if [[ ! $pem =~ ^-----BEGIN\ PUBLIC\ KEY-----$'\n'([A-Za-z0-9+/=]+$'\n')+-----END\ PUBLIC\ KEY-----$ ]]; then
        problem "JWT_PUBLIC_KEY_FILE must be a file with one public key in PEM, from -----BEGIN PUBLIC KEY----- to" \
            "-----END PUBLIC KEY-----, and readable; ${JWT_PUBLIC_KEY_FILE@Q} is not"
        return 0
    fi
    case ${pem#*$'\n'} in
        MII???ANBgkqhkiG9w0BAQEF*) value_of[JWT_ALGORITHM]=RS256 ;;
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcD*) value_of[JWT_ALGORITHM]=ES256 ;;
        MCowBQYDK2VwAyEA*) value_of[JWT_ALGORITHM]=EdDSA ;;
        *) problem 'JWT_PUBLIC_KEY_FILE must be a key of RSA with 2048 bits or more, of P-256, or of Ed25519' ;;
    esac
    value_of[JWT_PUBLIC_KEY]=${pem//$'\n'/\\n} # one line, as it stands between double quotes
}

# A partner has all three or none, so that a secret that did not arrive is noticed.
read_partner() {
    [[ -n ${PARTNER_API_KEY+set}${PARTNER_API_KEY_PREVIOUS+set}${PARTNER_TOKEN+set}${PARTNER_RATE_LIMIT_PER_MINUTE+set} ]] || return 0
    holds[partner]=yes
    local key='[A-Za-z0-9._~-]{32,255}'
    demand_secret PARTNER_API_KEY "$key" "the partner's key, of 32 to 255 letters, digits and . _ ~ -" || true
    if [[ -n ${PARTNER_API_KEY_PREVIOUS+set} ]]; then
        holds[partner_previous]=yes
        demand_secret PARTNER_API_KEY_PREVIOUS "$key" "the partner's key of before, of 32 to 255 letters, digits and . _ ~ -" || true
        [[ $PARTNER_API_KEY_PREVIOUS != "${PARTNER_API_KEY:-}" ]] ||
            problem 'PARTNER_API_KEY_PREVIOUS must be another key than PARTNER_API_KEY'
    fi
    demand_secret PARTNER_TOKEN '[A-Za-z0-9_-]+[.][A-Za-z0-9_-]+[.][A-Za-z0-9_-]+' \
        "the partner's own signed token: three parts in base64url with dots between" || true
    demand PARTNER_RATE_LIMIT_PER_MINUTE '[1-9][0-9]{0,6}' 'a number of requests from 1 to 9999999' || true
}

# What the template relies on, and what would open the gateway.
check_kong_settings() {
    [[ ${KONG_DATABASE:-} == off ]] || problem 'KONG_DATABASE must be off: the configuration is the rendered file'
    local name
    for name in KONG_DECLARATIVE_CONFIG KONG_DECLARATIVE_CONFIG_STRING; do
        [[ -z ${!name:-} ]] || problem "$name must not be set: the configuration is rendered from the template"
    done
    [[ ${KONG_UNTRUSTED_LUA:-sandbox} == sandbox ]] ||
        problem "KONG_UNTRUSTED_LUA must be sandbox, not ${KONG_UNTRUSTED_LUA@Q}: the configuration has a function, and no more than that may run"
    [[ ${KONG_ROUTER_FLAVOR:-traditional_compatible} == traditional_compatible ]] ||
        problem "KONG_ROUTER_FLAVOR must be traditional_compatible, not ${KONG_ROUTER_FLAVOR@Q}: the routes rely on its order"
    check_administration
    check_addresses
}

# The Admin API replaces the whole configuration and shows every key, to whoever reaches it.
check_administration() {
    local name on=''
    for name in KONG_ADMIN_LISTEN KONG_ADMIN_GUI_LISTEN; do
        if [[ -z ${!name:-} ]]; then
            problem "$name must be off, or the address of the administration; Kong's own default would open it"
        elif [[ ${!name} != off ]]; then
            on+="${on:+ and }$name"
        fi
    done
    [[ -n $on ]] || return 0
    if [[ ${APP_ENV:-} == production ]]; then
        problem "$on must be off with APP_ENV=production: the Admin API shows every credential and changes everything"
    elif [[ ! ${KONG_ADMIN_GUI_URL:-} =~ ^https?://$HOST_PATTERN(:[0-9]+)?$ ]]; then
        problem "KONG_ADMIN_GUI_URL must be the manager's URL, e.g. http://localhost:8002, while $on is on: without it any web page may read the Admin API"
    fi
}

# Behind a load balancer every request has its address, and the limit by address would count all clients as one.
check_addresses() {
    [[ -n ${KONG_TRUSTED_IPS:-}${KONG_REAL_IP_HEADER:-}${KONG_REAL_IP_RECURSIVE:-} ]] || return 0
    [[ -n ${KONG_TRUSTED_IPS:-} ]] ||
        problem 'KONG_TRUSTED_IPS must name the networks of the load balancer while KONG_REAL_IP_HEADER or KONG_REAL_IP_RECURSIVE is set'
    case ",${KONG_TRUSTED_IPS:-}," in
        *,0.0.0.0/0,* | *,::/0,*) problem 'KONG_TRUSTED_IPS must not be all addresses: any client could then choose the address that its limit counts' ;;
    esac
    [[ ${KONG_REAL_IP_HEADER:-} == X-Forwarded-For ]] ||
        problem "KONG_REAL_IP_HEADER must be X-Forwarded-For with KONG_TRUSTED_IPS, or the limit counts the load balancer's address"
    [[ ${KONG_REAL_IP_RECURSIVE:-} == on ]] ||
        problem 'KONG_REAL_IP_RECURSIVE must be on with KONG_TRUSTED_IPS, or a client chooses the address that its limit counts'
}

# --- Rendering ---------------------------------------------------------------------------------------------------

render() {
    local line word number=0 depth=0 dropped=0
    while IFS= read -r line || [[ -n $line ]]; do
        number=$((number + 1))
        word=${line#"${line%%[! ]*}"}
        case $word in
            '#if '*)
                depth=$((depth + 1))
                if ((dropped)) || ! holds "${word#'#if '}" "$number"; then dropped=$((dropped + 1)); fi
                ;;
            '#end')
                depth=$((depth - 1))
                ((depth >= 0)) || fault "$number: #end without #if"
                ((dropped == 0)) || dropped=$((dropped - 1))
                ;;
            '#'*) ;;
            *) ((dropped)) || substitute "$line" "$number" ;;
        esac
    done <"$template"
    ((depth == 0)) || fault "$number: #if without #end"
}

holds() {
    [[ -n ${holds[$1]-} ]] || fault "$2: start.sh knows no condition $1"
    [[ ${holds[$1]} == yes ]]
}

# Values are put in from left to right and not looked at again, so that none can name another.
substitute() {
    local rest=$1 name
    while [[ $rest =~ \$\{([A-Z_]+)\} ]]; do
        name=${BASH_REMATCH[1]}
        [[ -n ${value_of[$name]+set} ]] || fault "$2: start.sh gives $name no value"
        printf '%s' "${rest%%"\${$name}"*}" "${value_of[$name]}"
        rest=${rest#*"\${$name}"}
    done
    printf '%s\n' "$rest"
}

fault() {
    echo "the gateway does not start: kong.template.yml, line $*" >&2
    exit 1
}

main "$@"
