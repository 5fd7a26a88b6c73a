# shellcheck shell=bash
# The scripts use what is set here.
# shellcheck disable=SC2034
# What the five scripts share: arguments, tools, and where a deployment stands. It is read by them, and does nothing by itself.

LC_ALL=C
me=${0##*/}
namespace=${NAMESPACE:-jadevectordb-system}
# What named the namespace, for messages.
namespace_by=NAMESPACE
name=${JADESHIFT_NAME:-jadevectordb}
program=${JADESHIFT:-jadeshift}
context=${KUBE_CONTEXT:-}
follow_s=${TIMEOUT:-3600}

# Exit codes are those of jadeshift.
readonly FAILED=1 USAGE=2 REFUSED=3 NOT_RUNNING=4 TIMED_OUT=5

readonly RESOURCE=bluegreens.jadevectordb.io
# How long the API server may be away while something is followed, and how long an operator may take to look at a deployment
# for the first time, in looks: there is one a second.
readonly AWAY_MAX=15 UNSEEN_MAX=60

common_help() {
    cat <<'HELP'

Environment:
  NAMESPACE       namespace of the deployment, where no argument names it (jadevectordb-system)
  JADESHIFT_NAME  name of its BlueGreen (jadevectordb)
  KUBE_CONTEXT    the cluster, by its name in the kubeconfig (kubectl's current one)
  JADESHIFT       the program jadeshift, when it is not on PATH

Exit codes, as of jadeshift:
  0  done
  1  failed: something is unhealthy, or a release went the other way
  2  an argument or a document cannot be used; nothing was changed
  3  refused: it does not fit where the deployment stands, or is not permitted; nothing was changed
  4  not running, or not reachable
  5  not within the time; the deployment goes on
HELP
}

say() {
    printf '%s: %s\n' "$me" "$*" >&2
}

die() {
    local code=$1
    shift
    say "$*"
    exit "$code"
}

# Arguments ---------------------------------------------------------------------------------------------------------------

# refuse NAME VALUE RULE
refuse() {
    die "$USAGE" "$1: \`$2\` is not allowed: $3 (see $me --help)"
}

missing() {
    die "$USAGE" "$1 is missing: $2 (see $me --help)"
}

# Shows the help when it is asked for.
help_if_asked() {
    local argument
    for argument in "$@"; do
        case $argument in -h | --help)
            usage
            common_help
            exit 0
            ;;
        esac
    done
}

# at_most NUMBER ARGUMENTS...
at_most() {
    local number=$1
    shift
    [[ $# -le $number ]] || refuse "argument $((number + 1))" "${*:number+1:1}" "there are at most $number arguments"
}

# The namespace is named by an argument: namespace_is NUMBER VALUE
namespace_is() {
    namespace=$2
    namespace_by="namespace (argument $1)"
    check_name "$namespace_by" "$namespace"
}

check_name() {
    [[ ${#2} -le 63 && $2 =~ ^[a-z0-9]([-a-z0-9]*[a-z0-9])?$ ]] ||
        refuse "$1" "$2" "1 to 63 small letters, digits or \`-\`, beginning and ending with a letter or digit"
}

check_version() {
    [[ ${#2} -le 63 && $2 =~ ^[A-Za-z0-9][A-Za-z0-9._+-]*$ ]] ||
        refuse "$1" "$2" "1 to 63 letters, digits, \`.\`, \`-\`, \`_\` or \`+\`, beginning with a letter or digit"
    case $2 in deploy | promote | rollback | info)
        refuse "$1" "$2" "it is the name of an action; the action is the fourth argument"
        ;;
    esac
}

# check_seconds NAME VALUE LEAST: a week at most.
check_seconds() {
    if ! [[ $2 =~ ^[0-9]{1,6}$ ]] || ((10#$2 < $3 || 10#$2 > 604800)); then
        refuse "$1" "$2" "whole seconds from $3 to 604800"
    fi
}

# A path of a Service: nothing in it may lead elsewhere.
check_path() {
    [[ ${#2} -le 200 && $2 =~ ^/[A-Za-z0-9/._~-]*$ && $2 != *..* && $2 != *//* ]] ||
        refuse "$1" "$2" "a path such as /health: \`/\`, letters, digits, \`.\`, \`_\`, \`~\` and \`-\`, and neither \`..\` nor \`//\`"
}

# What comes from the environment is checked like an argument; then the tools are looked for.
check_environment() {
    check_name "$namespace_by" "$namespace"
    check_name JADESHIFT_NAME "$name"
    check_seconds TIMEOUT "$follow_s" 1
    local tool
    for tool in "$program" kubectl; do
        command -v "$tool" >/dev/null ||
            die "$NOT_RUNNING" "the program $tool is not found: put it on PATH (or name jadeshift with JADESHIFT)"
    done
}

# Tools -------------------------------------------------------------------------------------------------------------------

jade() {
    "$program" --namespace "$namespace" --name "$name" ${context:+--context "$context"} "$@"
}

kube() {
    kubectl --namespace "$namespace" ${context:+--context "$context"} "$@"
}

# Where the deployment stands ---------------------------------------------------------------------------------------------

status_fields() {
    local field
    for field in metadata.name status.phase status.active status.versions.blue status.versions.green status.shares.blue \
        status.shares.green status.last.outcome spec.rollout.holdBeforeSteps \
        'status.conditions[?(@.type=="Valid")].status'; do
        printf '{.%s}|' "$field"
    done
    printf '{.status.reason}'
}

FIELDS=$(status_fields)
readonly FIELDS

# Reads what the operator showed last. Empty `found`: there is no deployment; empty `phase`: no operator looked at it yet.
read_state() {
    local text
    text=$(kube get "$RESOURCE" "$name" --ignore-not-found --output "jsonpath=$FIELDS" 2>/dev/null) || return 1
    text=${text//<nil>/}
    IFS='|' read -r found phase active version_blue version_green share_blue share_green last_outcome hold valid \
        reason <<<"$text" || true
    if [[ $active == green ]]; then
        candidate=blue version_active=$version_green version_other=$version_blue share=$share_blue
    else
        candidate=green version_active=$version_blue version_other=$version_green share=$share_green
    fi
}

# Says why there is nothing to read, and ends: jadeshift knows best what is wrong, and what mends it.
explain() {
    local code=0
    jade info --quiet >/dev/null || code=$?
    [[ $code -eq 0 ]] || exit "$code"
    kube get "$RESOURCE" "$name" >/dev/null || exit "$FAILED"
    die "$FAILED" "the deployment $name in namespace $namespace could not be read, but can be now: try again"
}

# A deployment that the operator looks after.
must_be_there() {
    read_state || explain
    [[ -n $found && -n $phase ]] || explain
}

# follow_until PREDICATE SECONDS: looks once a second and says what is new, until the predicate holds.
follow_until() {
    local until=$((SECONDS + 10#$2)) shown='' away=0 unseen=0
    while :; do
        if read_state; then
            away=0
            # A document that cannot be used is looked after by nobody.
            [[ -n $phase || $valid != False ]] || explain
            [[ -n $phase ]] || unseen=$((unseen + 1))
            [[ $unseen -lt $UNSEEN_MAX ]] || explain
            # A sentence whose numbers moved says nothing new.
            if [[ -n $reason && ${reason//[0-9.,]/} != "$shown" ]]; then
                shown=${reason//[0-9.,]/}
                say "$reason"
            fi
            if "$1"; then
                return
            fi
        else
            away=$((away + 1))
            [[ $away -lt $AWAY_MAX ]] || explain
        fi
        ((SECONDS < until)) || die "$TIMED_OUT" "not within $2 s; last seen: ${reason:-nothing}"
        sleep 1
    done
}

# Predicates

is_started() {
    [[ -n $phase && $phase != starting ]]
}

is_stable() {
    [[ $phase == stable ]]
}

# The candidate is filled and checked, and gets its first reads when somebody says promote.
waits_at_nothing() {
    [[ $phase == shifting && $share == 0 ]]
}
