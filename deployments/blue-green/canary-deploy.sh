#!/usr/bin/env bash
# Holds the new version's share of the reads, switches fully, or goes back. `canary-deploy.sh --help`.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

# How long a router may take to do what it was told.
readonly ROUTER_S=60

usage() {
    cat <<'HELP'
canary-deploy.sh NAMESPACE partial|half|mostly-green|full-switch|rollback

  partial       the new version answers 10 % of the reads, and holds there
  half          50 %
  mostly-green  90 %
  full-switch   all traffic, and the right to write
  rollback      back to the version that serves

Shares are of all reads, not of those with a certain header. A version must have been brought in before
(deploy-blue-green.sh ... deploy), and is judged all the time: one that is worse goes back by itself. The new version is not
always the green one: the colours change places with every release. Returns when the router confirms the share, or when
the switch or the way back is made.

Examples:
  canary-deploy.sh jadevectordb-system partial
  canary-deploy.sh jadevectordb-system mostly-green
  canary-deploy.sh jadevectordb-system rollback

Environment of this script:
  TIMEOUT         longest time in seconds that full-switch and rollback wait (3600)
HELP
}

# hold_at PERCENT
hold_at() {
    local share_wanted=$1
    must_be_there
    jade canary "$type"
    follow_until is_in_effect_or_left "$ROUTER_S"
    [[ $phase == paused ]] || die "$FAILED" "it does not hold at $share_wanted %: $reason"
    say "$candidate has $share_wanted % of the reads with version $version_other, as the router confirms"
}

is_in_effect_or_left() {
    local wanted
    [[ $phase == paused ]] || return 0
    case $candidate in
    green) wanted="{\"blue\":$((100 - share_wanted)),\"green\":$share_wanted}" ;;
    *) wanted="{\"blue\":$share_wanted,\"green\":$((100 - share_wanted))}" ;;
    esac
    [[ $(kube get "$RESOURCE" "$name" --output 'jsonpath={.status.info}') == *"\"share_in_effect\":$wanted"* ]]
}

full_switch() {
    must_be_there
    local before=$active
    jade canary full-switch
    follow_until is_switched_or_ended "$follow_s"
    [[ $active != "$before" ]] || die "$FAILED" "$active still serves version $version_active: $reason"
    say "$active serves version $version_active; rollback-monitor.sh $namespace follows it until its watch is over"
}

is_switched_or_ended() {
    is_stable || [[ $phase == watching ]]
}

go_back() {
    must_be_there
    jade canary rollback
    follow_until is_stable "$follow_s"
    [[ $last_outcome == RolledBack ]] || die "$FAILED" "the rollout ended otherwise: $reason"
    say "rolled back: $active serves version $version_active"
}

help_if_asked "$@"
at_most 2 "$@"
[[ $# -ge 1 ]] || missing "namespace (argument 1)" "that of the deployment, such as jadevectordb-system"
namespace_is 1 "$1"
[[ $# -ge 2 ]] || missing "canary type (argument 2)" "partial, half, mostly-green, full-switch or rollback"
type=$2
case $type in
partial | half | mostly-green | full-switch | rollback) ;;
*) refuse "canary type (argument 2)" "$type" "partial, half, mostly-green, full-switch or rollback" ;;
esac
check_environment

case $type in
partial) hold_at 10 ;;
half) hold_at 50 ;;
mostly-green) hold_at 90 ;;
full-switch) full_switch ;;
rollback) go_back ;;
esac
