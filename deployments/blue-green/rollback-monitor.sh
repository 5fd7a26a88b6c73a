#!/usr/bin/env bash
# Follows a rollout, and its watch after the switch, until it has ended. `rollback-monitor.sh --help`.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

usage() {
    cat <<'HELP'
rollback-monitor.sh [NAMESPACE [TIMEOUT]]

  NAMESPACE  of the deployment (jadevectordb-system)
  TIMEOUT    longest time in seconds to follow (900)

Says what happens and how the evidence stands, from now until the watch after the switch is over. It only looks: the operator
watches and goes back by itself, whether somebody looks or not, as long as the document says (spec.rollout.watchMs); by hand,
`deploy-blue-green.sh NAMESPACE rollback` does it at any time.

Ends with exit code 0 when the new version was promoted or no rollout is under way, 1 when it was rolled back, 5 when it goes
on after the time.

Examples:
  rollback-monitor.sh
  rollback-monitor.sh jadevectordb-system 300
HELP
}

help_if_asked "$@"
at_most 2 "$@"
[[ $# -lt 1 ]] || namespace_is 1 "$1"
timeout=${2-900}
check_seconds "timeout (argument 2)" "$timeout" 1
check_environment

jade monitor --timeout-ms "$((10#$timeout * 1000))"
