#!/usr/bin/env bash
# Moves all traffic and the right to write to one environment. `switch-traffic.sh --help`.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

usage() {
    cat <<'HELP'
switch-traffic.sh blue|green [NAMESPACE]

Moves all traffic and the right to write to one environment, and returns when it has them. The environment must run and hold
every record: it is checked first, and nothing moves when it fails. The other one goes on following, so the way back is the
same command with the other colour; while the switch is watched, a failure goes back by itself (rollback-monitor.sh follows).

Examples:
  switch-traffic.sh green
  switch-traffic.sh green jadevectordb-system

Environment of this script:
  TIMEOUT         longest time in seconds that it waits (3600)
HELP
}

# It serves, and nothing is on its way any more that could be awaited; or it ended elsewhere.
has_arrived_or_ended() {
    is_stable || [[ $phase == watching && $active == "$colour" ]]
}

help_if_asked "$@"
at_most 2 "$@"
[[ $# -ge 1 ]] || missing "colour (argument 1)" "blue or green"
colour=$1
case $colour in
blue | green) ;;
*) refuse "colour (argument 1)" "$colour" "blue or green" ;;
esac
[[ $# -lt 2 ]] || namespace_is 2 "$2"
check_environment

jade switch "$colour"
follow_until has_arrived_or_ended "$follow_s"
[[ $active == "$colour" ]] || die "$FAILED" "$active serves version $version_active: $reason"
say "$colour serves version $version_active"
