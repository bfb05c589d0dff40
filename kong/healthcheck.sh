#!/usr/bin/env bash
#
# Succeeds when Kong has its configuration and serves: /status/ready on the status port. The image has no curl.

set -euo pipefail

port=${KONG_STATUS_LISTEN##*:}
exec 3<>"/dev/tcp/127.0.0.1/${port%% *}"
printf 'GET /status/ready HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
read -r -t 2 _ status _ <&3
[[ $status == 200 ]]
