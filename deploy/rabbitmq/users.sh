#!/usr/bin/env bash
# RabbitMQ's users: agents may only publish events; each of Fuelline's consumers may declare and read only its own queues,
# so that neither can take messages that the other has not seen.
#   AGENTS_PASSWORD=... LAKE_PASSWORD=... STREAMING_PASSWORD=... deploy/rabbitmq/users.sh
# CTL is how rabbitmqctl is called, for example: kubectl -n flyte exec rabbitmq-0 -- rabbitmqctl
set -euo pipefail
: "${AGENTS_PASSWORD:?is not set}" "${LAKE_PASSWORD:?is not set}" "${STREAMING_PASSWORD:?is not set}"
ctl() { ${CTL:-rabbitmqctl} --quiet "$@"; }
host=${VHOST:-/}

ctl add_user agents "$AGENTS_PASSWORD"
ctl add_user fuelline-lake "$LAKE_PASSWORD"
ctl add_user fuelline-streaming "$STREAMING_PASSWORD"
#                                                 configure       write                  read
ctl set_permissions -p "$host" agents             '^$'            '^fuelline\.events$'   '^$'
for own in lake streaming; do
    ctl set_permissions -p "$host" "fuelline-$own" \
        "^fuelline\.(events|dead|$own)$" "^fuelline\.(dead|$own)$" "^fuelline\.(events|dead|$own)$"
done
