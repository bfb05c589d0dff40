# shellcheck shell=bash
#
# The users of the broker with their passwords and permissions, over the management API, as often as you like.
#
# Runs as: bash -euc "$(< broker.sh)", with
#   BROKER_ADMIN_URL   https://user:password@host
#   BROKER_USERS       users, permissions and topic_permissions in the form of RabbitMQ's definitions
#
# The URL and the definitions go to curl on its standard input: arguments are seen by every process.

answer=$(
    {
        printf 'url = "%s/api/definitions"\n' "$BROKER_ADMIN_URL"
        printf 'header = "content-type: application/json"\n'
        printf 'data-binary = "%s"\n' "$(printf '%s' "$BROKER_USERS" | sed 's/[\\"]/\\&/g')"
    } | curl --config - --silent --show-error --max-time 60 --retry 5 --retry-connrefused --write-out '\n%{http_code}'
)
case ${answer##*"
"} in
    20?) echo 'the users of the broker and their permissions are set up' ;;
    *)
        echo "the management API refused the users of the broker (${answer##*"
"})" >&2
        exit 1
        ;;
esac
