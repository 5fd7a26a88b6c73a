#!/usr/bin/env bash
# Brings a version in beside the one that serves, moves production to it, and takes it back. `deploy-blue-green.sh --help`.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

usage() {
    cat <<'HELP'
deploy-blue-green.sh BLUE-VERSION GREEN-VERSION [DELAY [ACTION]]
deploy-blue-green.sh NAMESPACE info|promote|rollback

  BLUE-VERSION   the version that serves, or that shall be the first to. In a second cycle it runs on the green environment:
                 the colours change places with every release, the order of these arguments does not.
  GREEN-VERSION  the version that is brought in.
  DELAY          before `promote` moves the first reads: how many seconds the new version is still watched while it waits
                 (sampled reads are asked again of both versions meanwhile, and a worse one goes back). Default 0. How long each
                 step lasts at least is said by the document (spec.rollout.steps), and evidence decides when it is over.
  ACTION         deploy    makes the deployment if there is none yet, brings the new version in, fills and checks it, and
                           returns when it waits at 0 % for `promote`. This is the default.
                 promote   goes on, and returns when the new version is promoted, was rolled back, or waits at a step whose
                           document says `pause: true`.
                 rollback  goes back to the version before, also after the switch, and returns when it serves again.
                 info      shows where the deployment stands.

Examples:
  deploy-blue-green.sh 1.0.0 1.1.0 60 deploy
  deploy-blue-green.sh 1.0.0 1.1.0 60 promote
  deploy-blue-green.sh 1.0.0 1.1.0 60 rollback
  deploy-blue-green.sh jadevectordb-system info
  NAMESPACE=search DOCUMENT=search.yaml deploy-blue-green.sh 1.0.0 1.1.0

Environment of this script:
  DOCUMENT        what `deploy` applies when there is no deployment yet (k8s/blue-green-deployment.yaml beside this script)
  TIMEOUT         longest time in seconds that an action waits (3600)
HELP
}

# Actions -----------------------------------------------------------------------------------------------------------------

deploy() {
    read_state || explain
    if [[ -z $found ]]; then
        begin
    fi
    follow_until is_started "$follow_s"
    if is_stable; then
        must_serve "$blue_version"
        must_hold
    fi
    # Of a rollout that is under way already, jadeshift says what to do.
    jade deploy "$green_version"
    follow_until waits_or_ended "$follow_s"
    waits_at_nothing || die "$FAILED" "version $green_version was taken back: $(why_ended)"
    jade info
    say "version $green_version waits at 0 % on $candidate. Next: $me $blue_version $green_version ${delay} promote"
}

promote() {
    must_be_there
    if [[ -n ${green_version:-} ]] && ! is_stable; then
        must_run_both
    fi
    if waits_at_nothing; then
        soak
    fi
    share_before=$share
    jade promote
    follow_until waits_further_or_ended "$follow_s"
    if ! is_stable; then
        say "it waits with $share % of the reads at $candidate; promote again to go on"
    elif [[ $last_outcome == Promoted ]]; then
        say "promoted: $active serves version $version_active"
    else
        die "$FAILED" "rolled back: $active serves version $version_active again: $(why_ended)"
    fi
}

rollback() {
    must_be_there
    if [[ -n ${blue_version:-} && $blue_version != "$version_active" && $blue_version != "$version_other" ]]; then
        die "$REFUSED" "blue-version (argument 1): \`$blue_version\` is not allowed: $(what_runs)"
    fi
    jade rollback --reason "asked for by $me"
    follow_until is_stable "$follow_s"
    [[ $last_outcome == RolledBack ]] || die "$FAILED" "the rollout ended otherwise: $reason"
    say "rolled back: $active serves version $version_active"
}

info() {
    jade info
}

# What they need ----------------------------------------------------------------------------------------------------------

# Makes the deployment, with blue-version as its first.
begin() {
    [[ -f $document && -r $document ]] || refuse DOCUMENT "$document" "a file that can be read"
    local folder rendered there=yes
    folder=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf -- '$folder'" EXIT
    rendered=$folder/rendered.yaml
    # Who may not look whether the namespace is there is told by what follows.
    if [[ -z $(kube get namespace "$namespace" --ignore-not-found --output name 2>/dev/null || echo unknown) ]]; then
        there=no
        # A name that was mistyped shall not become a deployment.
        [[ $namespace == jadevectordb-system ]] || refuse NAMESPACE "$namespace" \
            "there is no such namespace; \`kubectl create namespace $namespace\` makes it"
    fi
    render "$folder" >"$rendered"
    local held
    held=$(kube create --dry-run=client --filename "$rendered" \
        --output 'jsonpath={.kind} {.metadata.name} {.spec.rollout.holdBeforeSteps}{"\n"}') ||
        refuse DOCUMENT "$document" "the cluster does not know every kind in it"
    [[ $'\n'$held == *$'\n'"BlueGreen $name "* ]] ||
        refuse DOCUMENT "$document" "it must hold the BlueGreen $name (JADESHIFT_NAME says its name)"
    [[ $'\n'$held == *$'\n'"BlueGreen $name true"* ]] ||
        refuse DOCUMENT "$document" "its BlueGreen must say spec.rollout.holdBeforeSteps: true, so that a new version waits for promote"
    if [[ $there == yes ]]; then
        put "$rendered" --dry-run=server
    fi
    say "there is no deployment $name in namespace $namespace yet: it begins with version $blue_version"
    put "$rendered"
}

# The document for this namespace and version. A namespace that is somebody's own is not labelled anew.
render() {
    cp -- "$document" "$1/document.yaml"
    {
        printf 'resources: [document.yaml]\nnamespace: %s\npatches:\n' "$namespace"
        printf "  - target: {group: jadevectordb.io, kind: BlueGreen}\n    patch: '%s'\n" \
            "[{\"op\": \"add\", \"path\": \"/spec/version\", \"value\": \"$blue_version\"}]"
        if [[ $namespace != jadevectordb-system ]]; then
            # shellcheck disable=SC2016
            printf "  - target: {kind: Namespace}\n    patch: '%s'\n" \
                '{"$patch": "delete", "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "any"}}'
        fi
    } >"$1/kustomization.yaml"
    kubectl kustomize "$1" || die "$USAGE" "DOCUMENT: \`$document\` is not allowed: it is not YAML with a BlueGreen in it"
}

put() {
    local file=$1 said
    shift
    said=$(kube apply --server-side "$@" --filename "$file" 2>&1 >/dev/null) && return
    printf '%s\n' "$said" >&2
    case $said in
    *[Ff]orbidden*) die "$REFUSED" "not permitted: whoever this is (\`kubectl auth whoami\`) may not make all of it" ;;
    *) die "$USAGE" "DOCUMENT: \`$document\` is not allowed: the cluster refuses it" ;;
    esac
}

must_serve() {
    [[ $version_active == "$1" ]] || die "$REFUSED" "blue-version (argument 1): \`$1\` is not allowed: $(what_runs); the first argument is the version to be replaced, whatever colour runs it now"
}

must_hold() {
    [[ $hold == true ]] || die "$REFUSED" "spec.rollout.holdBeforeSteps of BlueGreen $name is not true, so version $green_version would get reads before anybody says promote: set it, or use \`jadeshift deploy $green_version\`"
}

# After the switch the two have changed places.
must_run_both() {
    local now="$version_active $version_other"
    case $phase in
    watching | paused) [[ $now != "$green_version $blue_version" ]] || return 0 ;;
    esac
    [[ $now == "$blue_version $green_version" ]] || die "$REFUSED" "blue-version and green-version (arguments 1 and 2): \`$blue_version\` and \`$green_version\` are not allowed: $(what_runs)"
}

what_runs() {
    printf '%s serves version %s' "$active" "${version_active:-none}"
    if [[ -n $version_other ]]; then
        printf ', and %s runs %s' "$candidate" "$version_other"
    fi
}

# The new version is watched a while longer before it gets its first reads.
soak() {
    local left=$((10#$delay))
    if ((left > 0)); then
        say "version $version_other is watched at 0 % for $left s more; Ctrl-C leaves it there"
    fi
    while ((left > 0)); do
        sleep 1
        left=$((left - 1))
        read_state || explain
        waits_at_nothing || die "$FAILED" "it does not wait for promote any more: $reason"
    done
}

why_ended() {
    kube get "$RESOURCE" "$name" --output 'jsonpath={.status.last.reason}'
}

waits_or_ended() {
    waits_at_nothing || is_stable
}

# A step whose document says so waits when it is done. The share before is the step that was just left.
waits_further_or_ended() {
    is_stable || [[ $phase == shifting && $share != "$share_before" && $reason == *"waits for \`jadeshift promote\`"* ]]
}

# Arguments ---------------------------------------------------------------------------------------------------------------

help_if_asked "$@"
at_most 4 "$@"
document=${DOCUMENT:-$here/k8s/blue-green-deployment.yaml}
delay=0
case ${2-} in
info | promote | rollback)
    [[ $# -eq 2 ]] || refuse "argument 3" "$3" "after NAMESPACE and an action there is none"
    namespace_is 1 "$1"
    action=$2
    ;;
*)
    [[ $# -ge 1 ]] || missing "blue-version (argument 1)" "the version that serves, or shall be the first to"
    check_version "blue-version (argument 1)" "$1"
    [[ $# -ge 2 ]] || missing "green-version (argument 2)" "the version that is brought in"
    check_version "green-version (argument 2)" "$2"
    [[ $1 != "$2" ]] || refuse "green-version (argument 2)" "$2" "it must be another than blue-version"
    blue_version=$1
    green_version=$2
    if [[ $# -ge 3 ]]; then
        check_seconds "delay (argument 3)" "$3" 0
        delay=$3
    fi
    action=${4-deploy}
    case $action in
    deploy | promote | rollback | info) ;;
    *) refuse "action (argument 4)" "$action" "deploy, promote, rollback or info" ;;
    esac
    ;;
esac
check_environment
"$action"
