#!/usr/bin/env bash
# Asks every environment that runs for its health. `health-check.sh --help`.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

# Longest wait for one answer.
readonly ANSWER_S=5

usage() {
    cat <<'HELP'
health-check.sh [NAMESPACE [PATH [TIMEOUT]]]

  NAMESPACE  of the deployment (jadevectordb-system)
  PATH       what each environment that runs is asked, through its Service and from inside of the cluster (/health)
  TIMEOUT    how many seconds it may take until all is well (30)

Shows what `jadeshift health` says, and asks PATH of each environment that runs. Ends with exit code 0 as soon as the active
environment serves, the way to it works, and every environment that runs answers PATH with success; with 1 when that is not so
within the time. An environment that is still being filled is not well yet.

Examples:
  health-check.sh
  health-check.sh jadevectordb-system
  health-check.sh jadevectordb-system /health/db 60
HELP
}

# Asks one environment; adds what it found to `answers`.
ask() {
    local colour=$1 version=$2 service="$name-$1-service" why
    [[ -n $version ]] || return 0
    if why=$(kube get --raw "/api/v1/namespaces/$namespace/services/http:$service:http/proxy$path" \
        --request-timeout "${ANSWER_S}s" 2>&1 >/dev/null); then
        answers+="$colour, version $version: $path is answered"$'\n'
    else
        answers+="$colour, version $version: $path is NOT answered: $why"$'\n'
        well=no
    fi
}

# One look at everything. What is no question of health ends the script.
look() {
    local code=0
    answers='' well=yes
    report=$(jade health --quiet) || code=$?
    case $code in
    0) ;;
    "$FAILED") well=no ;;
    *) exit "$code" ;;
    esac
    must_be_there
    ask blue "$version_blue"
    ask green "$version_green"
}

help_if_asked "$@"
at_most 3 "$@"
[[ $# -lt 1 ]] || namespace_is 1 "$1"
path=${2-/health}
timeout=${3-30}
check_path "path (argument 2)" "$path"
check_seconds "timeout (argument 3)" "$timeout" 1
check_environment

until=$((SECONDS + 10#$timeout))
look
while [[ $well == no ]] && ((SECONDS < until)); do
    sleep 1
    look
done
printf '%s\n\n%s' "$report" "$answers"
[[ $well == yes ]] || die "$FAILED" "not well within $timeout s"
