#!/usr/bin/env bash
#
# The image itself: builds it, and has its own Kong parse what it renders, in both profiles. Needs Docker.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

image=$(docker build --quiet .)

# check NAME=VALUE…: whether the image would start in this environment.
check() {
    local -a settings=()
    local setting
    for setting in "$@"; do settings+=(--env "$setting"); done
    docker run --rm "${settings[@]}" "$image" check
}

others=(CORS_ORIGINS=https://shop.example OTEL_EXPORTER_OTLP_ENDPOINT=http://jaeger:4318)
tokens=(JWT_ISSUER=https://id.example JWT_SECRET=not-a-secret-0123456789-0123456789)
partner=(PARTNER_API_KEY=not-a-key-0123456789-0123456789-01 PARTNER_TOKEN=a.b.c PARTNER_RATE_LIMIT_PER_MINUTE=1200)

check GATEWAY_PROFILE=open
check GATEWAY_PROFILE=open "${others[@]}"
check "${tokens[@]}"
check APP_ENV=production "${others[@]}" "${tokens[@]}" "${partner[@]}"
if check; then
    echo 'the image would start without credentials' >&2
    exit 1
fi
