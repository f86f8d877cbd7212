#!/usr/bin/env bash
# RabbitMQ's users: agents put events in and can do nothing else; Fuelline's consumers make and read what is theirs.
#   AGENTS_PASSWORD=... FUELLINE_PASSWORD=... deploy/rabbitmq/users.sh
# CTL is how rabbitmqctl is called, for example: kubectl -n fuelline exec rabbitmq-0 -- rabbitmqctl
set -euo pipefail
: "${AGENTS_PASSWORD:?is not set}" "${FUELLINE_PASSWORD:?is not set}"
ctl() { ${CTL:-rabbitmqctl} --quiet "$@"; }
host=${VHOST:-/}

ctl add_user agents "$AGENTS_PASSWORD"
ctl add_user fuelline "$FUELLINE_PASSWORD"
#                                       configure       write                  read
ctl set_permissions -p "$host" agents   '^$'            '^fuelline\.events$'   '^$'
ctl set_permissions -p "$host" fuelline '^fuelline\..*' '^fuelline\..*'        '^fuelline\..*'
