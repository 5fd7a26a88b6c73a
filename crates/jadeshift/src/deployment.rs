//! The deployment that a command is about: on this machine, or on a cluster. Everything that commands ask is the same for both.

use crate::cli::Globals;
use crate::control::Control;
use crate::exit::ExitCode;
use crate::failure::Failure;
use conductor::{Info, Report};
use kubernetes::remote::{Remote, RemoteError, Where};
use local::Folder;
use rollout::Command;
use std::path::Path;
use std::time::Duration;
use wire::control::{ReportRequest, Verified};

/// Longest wait for a comparison on a cluster, and for one that reads everything from disk again.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(40);
const VERIFY_DEEP_TIMEOUT: Duration = Duration::from_secs(900);

/// What to look at when nobody on the cluster does what was asked for.
pub const OPERATOR_RUNS: &str = "is it running? `kubectl get pods -A -l app.kubernetes.io/name=jadeshift` shows it";

#[derive(Clone)]
pub enum Deployment {
    Machine(Control),
    Cluster { remote: Box<Remote>, prefix: String },
}

impl Deployment {
    /// # Errors
    /// With [`ExitCode::NotRunning`] when there is none, and [`ExitCode::Usage`] when what was named does not exist.
    pub async fn find(globals: &Globals) -> Result<Self, Failure> {
        match on_cluster(globals) {
            None => Ok(Deployment::Machine(Control::find(&globals.dir)?)),
            Some(place) => {
                let prefix = command_prefix(globals);
                let remote = Remote::find(&place).await;
                let remote = remote.map_err(|error| failure("could not find the deployment", error, &prefix))?;
                Ok(Deployment::Cluster { remote: Box::new(remote), prefix })
            }
        }
    }

    pub async fn info(&self) -> Result<Info, Failure> {
        match self {
            Deployment::Machine(control) => control.info().await,
            Deployment::Cluster { remote, prefix } => {
                remote.info().await.map_err(|error| failure("could not ask for the state", error, prefix))
            }
        }
    }

    /// Says `command`; the answer is the state right after it.
    ///
    /// # Errors
    /// With [`ExitCode::Refused`] and the reason when it does not fit the state.
    pub async fn command(&self, command: &Command) -> Result<Info, Failure> {
        match self {
            Deployment::Machine(control) => control.command(command).await,
            Deployment::Cluster { remote, prefix } => {
                let what = format!("{} was not accepted", crate::control::name_of(command));
                remote.command(command).await.map_err(|error| failure(&what, error, prefix))
            }
        }
    }

    pub async fn verify(&self, deep: bool) -> Result<Verified, Failure> {
        match self {
            Deployment::Machine(control) => control.verify(deep).await,
            Deployment::Cluster { remote, prefix } => {
                let timeout = if deep { VERIFY_DEEP_TIMEOUT } else { VERIFY_TIMEOUT };
                let compared = remote.verify(deep, timeout).await;
                compared.map_err(|error| failure("could not compare the environments", error, prefix))
            }
        }
    }
}

/// Of a rollout: from whoever runs the deployment, or else from what was kept.
///
/// # Errors
/// With [`ExitCode::Refused`] when there is no such report.
pub async fn report(globals: &Globals, run: Option<u64>) -> Result<Report, Failure> {
    let what = "could not get the report";
    let missing = || Failure::new(ExitCode::Refused, what, ReportRequest { run }.missing());
    if on_cluster(globals).is_some() {
        let Deployment::Cluster { remote, prefix } = Deployment::find(globals).await? else { return Err(missing()) };
        return remote.report(run).await.map_err(|error| failure(what, error, &prefix))?.ok_or_else(missing);
    }
    let not_running = match Control::find(&globals.dir) {
        Ok(control) => match control.report(run).await {
            Err(failure) if failure.code == ExitCode::NotRunning => failure,
            answer => return answer,
        },
        Err(failure) => failure,
    };
    let unreadable = |error| Failure::failed("could not read the report", error);
    let Some(folder) = Folder::open_existing(&globals.dir).map_err(unreadable)? else { return Err(not_running) };
    folder.load_report(run).map_err(unreadable)?.ok_or_else(missing)
}

/// The cluster that is meant, if one is.
pub fn on_cluster(globals: &Globals) -> Option<Where> {
    let place = Where {
        kubeconfig: globals.kubeconfig.clone(),
        context: globals.context.clone(),
        namespace: globals.namespace.clone(),
        name: globals.name.clone(),
    };
    (globals.plugin || place != Where::default()).then_some(place)
}

/// How a command for this deployment is typed.
pub fn command_prefix(globals: &Globals) -> String {
    if on_cluster(globals).is_none() {
        return crate::control::command_prefix(&globals.dir);
    }
    let file = globals.kubeconfig.as_deref().map(Path::to_string_lossy);
    let options = [
        ("kubeconfig", file.as_deref()),
        ("context", globals.context.as_deref()),
        ("namespace", globals.namespace.as_deref()),
        ("name", globals.name.as_deref()),
    ];
    let given = options.into_iter().filter_map(|(name, value)| Some(format!(" --{name} {}", value?)));
    let program = if globals.plugin { "kubectl jadeshift" } else { "jadeshift" };
    format!("{program}{}", given.collect::<String>())
}

/// What went wrong with a cluster, and what mends it.
pub fn failure(what: &str, error: RemoteError, prefix: &str) -> Failure {
    let (code, advice) = match &error {
        RemoteError::NoCluster(_) => (
            ExitCode::NotRunning,
            "name a cluster as for kubectl: KUBECONFIG, --kubeconfig or --context; `kubectl config get-contexts` lists them"
                .into(),
        ),
        RemoteError::Silent(_) => (ExitCode::NotRunning, "does `kubectl version` reach the cluster?".into()),
        RemoteError::Forbidden(_) => (
            ExitCode::Refused,
            "bind the role jadeshift-viewer, jadeshift-promoter or jadeshift-admin to whoever this is (`kubectl auth whoami`)".into(),
        ),
        RemoteError::NotInstalled => (ExitCode::NotRunning, "install it with `jadeshift install`".into()),
        RemoteError::OldDefinition(_) => (ExitCode::Usage, "`jadeshift install` renews it".into()),
        RemoteError::NoNamespace(_) => (ExitCode::Usage, "`kubectl get namespaces` lists them".into()),
        RemoteError::NoDeployment { .. } => {
            (ExitCode::NotRunning, format!("make one with `{prefix} up`; `kubectl get bluegreens -A` lists them"))
        }
        RemoteError::Several { .. } => (ExitCode::Usage, "choose one with --name".into()),
        RemoteError::Invalid(_) => (ExitCode::Usage, "correct it with `kubectl edit bluegreen`".into()),
        RemoteError::Document(_) => (ExitCode::Usage, "correct it; nothing was changed".into()),
        RemoteError::Unanswered => (ExitCode::NotRunning, format!("{OPERATOR_RUNS}; nothing was changed")),
        RemoteError::Overtaken => (ExitCode::Refused, format!("see `{prefix} info`, and ask again")),
        RemoteError::Refused(_) => (ExitCode::Refused, format!("see `{prefix} info`")),
        RemoteError::Other(_) => (ExitCode::Failed, String::new()),
    };
    Failure::new(code, what, error).advise(advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;

    fn globals(line: &str) -> Globals {
        Cli::of(line.split(' ').map(Into::into).collect()).unwrap().globals
    }

    #[test]
    fn a_cluster_is_meant_when_a_part_of_one_is_named() {
        assert_eq!(on_cluster(&globals("jadeshift info")), None);
        let place = on_cluster(&globals("jadeshift info -n shop --context test")).unwrap();
        assert_eq!((place.namespace.as_deref(), place.context.as_deref()), (Some("shop"), Some("test")));
        assert_eq!(command_prefix(&globals("jadeshift info -n shop")), "jadeshift --namespace shop");
        assert_eq!(command_prefix(&globals("jadeshift --dir x info")), "jadeshift --dir x");
    }

    #[test]
    fn the_plugin_of_kubectl_always_means_a_cluster() {
        for line in ["/usr/local/bin/kubectl-jadeshift info", "kubectl-jadeshift --dir x info"] {
            let globals = globals(line);
            assert_eq!(on_cluster(&globals), Some(Where::default()), "{line}");
            assert_eq!(command_prefix(&globals), "kubectl jadeshift", "{line}");
        }
        assert_eq!(command_prefix(&globals("kubectl-jadeshift info -n shop")), "kubectl jadeshift --namespace shop");
    }

    #[test]
    fn each_failure_of_a_cluster_says_what_mends_it() {
        let said = failure("could not find the deployment", RemoteError::NoNamespace("shop".into()), "jadeshift");
        assert_eq!(said.code, ExitCode::Usage);
        assert_eq!(
            said.to_string(),
            "could not find the deployment: there is no namespace shop; `kubectl get namespaces` lists them"
        );
    }
}
