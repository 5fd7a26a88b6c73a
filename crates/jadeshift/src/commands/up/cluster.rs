//! `up` and `down` on a cluster: the document becomes an object there, and the operator does the rest.

use crate::cli::{Globals, Up as Args};
use crate::deployment::{OPERATOR_RUNS, command_prefix, failure};
use crate::document::{self, Given};
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::follow::{News, line};
use crate::output::Printer;
use conductor::Info;
use kubernetes::names::Names;
use kubernetes::remote::{Edition, Remote, RemoteError, Where};
use rollout::Phase;
use serde::Serialize;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};
use wire::document::BlueGreen;

/// Of a deployment that nobody gave a name.
const NAME_DEFAULT: &str = "jadevectordb";
const POLL: Duration = Duration::from_millis(200);
/// How long an operator may take to look at a document.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(15);
/// How long the pods of a deployment may take to end.
const ENDED_WITHIN: Duration = Duration::from_secs(120);

/// Where a deployment of a cluster is reached.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Reached {
    name: String,
    namespace: String,
    /// The version that serves.
    version: Option<String>,
    /// `host:port` for clients inside of the cluster.
    service: String,
    /// The Secret with the password of the user admin.
    secret: String,
}

/// Returns when somebody serves by the document.
pub async fn up(globals: &Globals, printer: &Printer, args: &Args, place: Where) -> Result<ExitCode, Failure> {
    let what = "could not put the deployment on the cluster";
    let prefix = command_prefix(globals);
    only_of_this_machine(args)?;
    let given = args.file.as_deref().map(document::read).transpose()?;
    let (remote, edition) = match (&args.file, given) {
        (Some(file), Some(given)) => {
            let place = named_by(&place, file, &given)?;
            // As it was written: an operator's defaults may be other ones than those of this program.
            let spec = BlueGreen::spec_as_written(&given.text);
            Remote::put(&place, &given.document.metadata.name, &spec).await
        }
        _ => there_or_new(&place).await,
    }
    .map_err(|error| failure(what, error, &prefix))?;
    let info = until_it_serves(&remote, edition, printer, args, &prefix).await?;
    let reached = reached(&remote.names, &info);
    printer.result(|| reached.text(&line(&info), globals), &reached);
    Ok(ExitCode::Ok)
}

/// Returns when nothing runs any more.
pub async fn down(globals: &Globals, printer: &Printer, place: &Where) -> Result<ExitCode, Failure> {
    let what = "could not end the deployment";
    let failed = |error| failure(what, error, &command_prefix(globals));
    let remote = Remote::find(place).await.map_err(failed)?;
    let identity = remote.remove().await.map_err(failed)?;
    let Names { deployment, namespace } = &remote.names;
    printer.progress(&format!("{deployment} in namespace {namespace} is ending (the data is kept)"));
    let began = Instant::now();
    while !remote.is_gone(&identity).await.map_err(failed)? {
        if began.elapsed() > ENDED_WITHIN {
            let why = format!("it is still there after {} s; an operator has to let go of it", ENDED_WITHIN.as_secs());
            return Err(Failure::new(ExitCode::TimedOut, what, why).advise(OPERATOR_RUNS));
        }
        tokio::time::sleep(POLL).await;
    }
    let text = format!(
        "{deployment} in namespace {namespace} has ended; its claims, its password and its state are kept, and `up` finds them"
    );
    printer.result(|| text, &json!({"name": deployment, "namespace": namespace}));
    Ok(ExitCode::Ok)
}

/// What says something of this machine only is not silently passed over.
fn only_of_this_machine(args: &Args) -> Result<(), Failure> {
    let given = [("--gateway", args.gateway.is_some()), ("--keep-nodes", args.keep_nodes)];
    match given.into_iter().find(|(_, given)| *given) {
        Some((option, _)) => {
            let why = format!("{option} is about this machine, and a cluster is meant");
            Err(Failure::usage("`up` was not run", why).advise("the document says what is so there: spec.cluster"))
        }
        None => Ok(()),
    }
}

/// The place, with what the document says of it. The two may not contradict each other.
fn named_by(place: &Where, file: &Path, given: &Given) -> Result<Where, Failure> {
    let metadata = &given.document.metadata;
    let fields = [
        ("metadata.name", "--name", &place.name, Some(&metadata.name)),
        ("metadata.namespace", "--namespace", &place.namespace, metadata.namespace.as_ref()),
    ];
    for (field, option, asked, written) in fields {
        if let (Some(asked), Some(written)) = (asked, written)
            && asked != written
        {
            let why = format!("{field} is {written}, and {option} {asked}");
            return Err(Failure::usage(format!("could not use the document {}", document::shown(file)), why)
                .advise("name the same in both, or leave one of them away"));
        }
    }
    Ok(Where { namespace: place.namespace.clone().or_else(|| metadata.namespace.clone()), ..place.clone() })
}

/// What is there stays as it is.
async fn there_or_new(place: &Where) -> Result<(Remote, Edition), RemoteError> {
    match Remote::find(place).await {
        Ok(remote) => {
            let edition = remote.edition().await?;
            Ok((remote, edition))
        }
        Err(RemoteError::NoDeployment { .. }) => {
            Remote::put(place, place.name.as_deref().unwrap_or(NAME_DEFAULT), &json!({})).await
        }
        Err(error) => Err(error),
    }
}

async fn until_it_serves(
    remote: &Remote,
    edition: Edition,
    printer: &Printer,
    args: &Args,
    prefix: &str,
) -> Result<Info, Failure> {
    let what = "the deployment does not serve yet";
    let (began, timeout) = (Instant::now(), Duration::from_millis(args.timeout_ms));
    let mut news = News::default();
    let mut last = None;
    let why = loop {
        let why = match remote.info_by(edition).await {
            Ok(Some(info)) if serves(&info) => return Ok(info),
            Ok(Some(info)) => {
                if let Some(line) = news.line(&info) {
                    printer.progress(&line);
                }
                last = Some(info.last_error.clone().unwrap_or_else(|| line(&info)));
                None
            }
            Ok(None) if last.is_none() && began.elapsed() > TAKEN_UP_WITHIN.min(timeout) => {
                let why = format!("no operator has looked at it within {} s", began.elapsed().as_secs());
                return Err(Failure::new(ExitCode::NotRunning, what, why)
                    .advise(format!("{OPERATOR_RUNS}; the object is there for it")));
            }
            // It may be away for a while.
            Err(error @ RemoteError::Silent(_)) => Some(error.to_string()),
            Ok(None) => None,
            Err(error) => return Err(failure(what, error, prefix)),
        };
        if began.elapsed() > timeout {
            break why.or(last).unwrap_or_else(|| "nothing".into());
        }
        tokio::time::sleep(POLL).await;
    };
    let why = format!("not within {} ms; last seen: {why}", args.timeout_ms);
    Err(Failure::new(ExitCode::TimedOut, what, why).advise(format!("it goes on; see `{prefix} info`")))
}

fn serves(info: &Info) -> bool {
    let starts = matches!(info.phase.unpaused(), Phase::Starting { .. });
    !starts && info.nodes.get(info.active).ready && info.share_in_effect.is_some()
}

fn reached(names: &Names, info: &Info) -> Reached {
    Reached {
        name: names.deployment.clone(),
        namespace: names.namespace.clone(),
        version: info.versions.get(info.active).clone(),
        service: format!("{}.{}:{}", names.main_service(), names.namespace, kubernetes::names::HTTP_PORT),
        secret: names.secret(),
    }
}

impl Reached {
    /// What a person sees then.
    fn text(&self, line: &str, globals: &Globals) -> String {
        let Self { name, namespace, version, service, secret } = self;
        let version = version.as_deref().unwrap_or("-");
        // With all that leads there again, whatever kubectl's default will be.
        let prefix = command_prefix(&Globals { namespace: Some(namespace.clone()), ..globals.clone() });
        format!(
            "{name} serves version {version} in namespace {namespace}; {line}\n\
             \n\
             database  http://{service} inside of the cluster\n\
             password  of the database's user admin: kubectl -n {namespace} get secret {secret} -o jsonpath='{{.data.admin-password}}' | base64 -d\n\
             \n\
             Next:\n  \
               {prefix} info --watch\n  \
               {prefix} deploy 1.1.0 --wait\n  \
               {prefix} down"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};

    fn given(text: &str) -> Given {
        Given { document: BlueGreen::from_yaml(text).unwrap(), text: text.into() }
    }

    const SHOP: &str =
        "apiVersion: jadevectordb.io/v1alpha1\nkind: BlueGreen\nmetadata: {name: shop, namespace: market}\n";

    #[test]
    fn the_document_and_the_command_line_name_the_same_place() {
        let place = |namespace: Option<&str>, name: Option<&str>| Where {
            namespace: namespace.map(Into::into),
            name: name.map(Into::into),
            ..Where::default()
        };
        let named = |place: &Where| named_by(place, Path::new("shop.yaml"), &given(SHOP));
        for place in [place(None, None), place(Some("market"), None), place(Some("market"), Some("shop"))] {
            assert_eq!(named(&place).unwrap().namespace.as_deref(), Some("market"));
        }
        for (place, said) in [
            (place(Some("other"), None), "metadata.namespace is market, and --namespace other"),
            (place(None, Some("other")), "metadata.name is shop, and --name other"),
        ] {
            let refused = named(&place).unwrap_err();
            assert_eq!(refused.code, ExitCode::Usage);
            assert!(refused.to_string().contains(said), "{refused}");
        }
    }

    #[test]
    fn options_of_this_machine_are_refused() {
        for (line, refused) in [
            ("jadeshift up -n shop --gateway 127.0.0.1:0", true),
            ("jadeshift up -n shop --keep-nodes", true),
            ("jadeshift up -n shop --detach", false),
        ] {
            let cli = Cli::of(line.split(' ').map(Into::into).collect()).unwrap();
            let Command::Up(args) = cli.command else { panic!("{line}") };
            assert_eq!(only_of_this_machine(&args).is_err(), refused, "{line}");
        }
    }
}
