//! What each command does.

mod analyze;
mod check;
mod deploy;
mod gateway;
mod health;
mod info;
mod install;
mod monitor;
mod operator;
mod render;
mod report;
pub mod up;

use crate::cli::{CanaryAction, Cli, Command, Globals};
use crate::deployment::{Deployment, on_cluster};
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::output::Printer;
use crate::signals::Interrupts;
use crate::{demo, follow, logging, text};
use clap::CommandFactory;
use rollout::Command as Wish;
use serde_json::json;
use std::future::Future;
use std::time::Duration;

/// How long work that nobody waits for may hold up the end of the program.
const RUNTIME_END: Duration = Duration::from_secs(1);

/// Runs what was typed.
///
/// # Errors
/// [`Failure`] is to be said on stderr and carries the exit code.
pub fn run(cli: Cli) -> Result<std::process::ExitCode, Failure> {
    let Cli { globals, command } = cli;
    if !matches!(command, Command::Node(_)) {
        // A node has its own way of logging.
        logging::start(&globals);
    }
    let printer = Printer::new(&globals);
    let code = match command {
        Command::Node(args) => return Ok(jadevectordb::cli::run(*args)),
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "jadeshift", &mut std::io::stdout());
            ExitCode::Ok
        }
        Command::Analyze(args) => analyze::run(&printer, &args)?,
        Command::Check { file } => check::run(&printer, &file)?,
        Command::Operator(args) => block_on(operator::run(&globals, &args))?,
        Command::Render { what } => render::run(&globals, &what)?,
        Command::Gateway(args) => block_on(gateway::run(&args))?,
        Command::Install(args) => block_on(until_interrupted(install::run(&globals, &printer, &args)))?,
        Command::Up(args) if let Some(place) = on_cluster(&globals) => {
            block_on(until_interrupted(up::cluster::up(&globals, &printer, &args, place)))?
        }
        Command::Up(args) if args.detach => block_on(up::detached(&globals, &printer, &args))?,
        Command::Up(args) => block_on(up::foreground(&globals, &printer, &args))?,
        Command::Demo(args) => block_on(demo::run(&printer, &args))?,
        command => block_on(until_interrupted(asked(&globals, &printer, command)))?,
    };
    Ok(code.into())
}

/// Commands that talk to a running deployment.
async fn asked(globals: &Globals, printer: &Printer, command: Command) -> Result<ExitCode, Failure> {
    let wish = match command {
        Command::Deploy(args) => return deploy::run(globals, printer, &args).await,
        Command::Info { watch } => return info::run(globals, printer, watch).await,
        Command::Health => return health::run(globals, printer).await,
        Command::Monitor { timeout_ms, interval_ms } => {
            return monitor::run(globals, printer, timeout_ms, interval_ms).await;
        }
        Command::Verify { deep } => return verify(globals, printer, deep).await,
        Command::Report(args) => return report::run(globals, printer, &args).await,
        Command::Down => {
            return match on_cluster(globals) {
                Some(place) => up::cluster::down(globals, printer, &place).await,
                None => down(globals, printer).await,
            };
        }
        Command::Promote { full } => Wish::Promote { full },
        Command::Pause => Wish::Pause,
        Command::Resume => Wish::Resume,
        Command::Rollback { reason, accept_loss } => Wish::Rollback { reason, accept_loss },
        Command::Switch { to } => Wish::Switch { to: to.into() },
        Command::Canary { action } => match action {
            CanaryAction::Partial => Wish::Canary { share_percent: 10 },
            CanaryAction::Half => Wish::Canary { share_percent: 50 },
            CanaryAction::MostlyGreen => Wish::Canary { share_percent: 90 },
            CanaryAction::FullSwitch => Wish::Promote { full: true },
            CanaryAction::Rollback => {
                Wish::Rollback { reason: "asked for by `canary rollback`".into(), accept_loss: false }
            }
        },
        Command::Up(_)
        | Command::Demo(_)
        | Command::Node(_)
        | Command::Completion { .. }
        | Command::Operator(_)
        | Command::Install(_)
        | Command::Gateway(_)
        | Command::Render { .. }
        | Command::Analyze(_)
        | Command::Check { .. } => {
            return Err(Failure::failed("the command was not run", "it does not talk to a deployment"));
        }
    };
    let info = Deployment::find(globals).await?.command(&wish).await?;
    printer.result(|| follow::line(&info), &info);
    Ok(ExitCode::Ok)
}

async fn verify(globals: &Globals, printer: &Printer, deep: bool) -> Result<ExitCode, Failure> {
    let verified = Deployment::find(globals).await?.verify(deep).await?;
    printer.result(|| text::verified(&verified), &verified);
    Ok(match (verified.equal, text::is_compared(&verified)) {
        (true, _) => ExitCode::Ok,
        (false, true) => ExitCode::Failed,
        // One environment alone is neither right nor wrong.
        (false, false) => ExitCode::Refused,
    })
}

async fn down(globals: &Globals, printer: &Printer) -> Result<ExitCode, Failure> {
    let what = format!("could not end the deployment in {}", globals.dir.display());
    let downed = local::down(&globals.dir, local::Patience::default()).await;
    let (line, value) = match downed.map_err(|error| Failure::failed(&what, error))? {
        local::Downed::NoDeployment => {
            return Err(Failure::new(ExitCode::NotRunning, what, "the folder holds no deployment")
                .advise("name its folder with --dir"));
        }
        local::Downed::Told { pid } => {
            (format!("process {pid} has ended with its nodes; the data is kept"), json!({"up": pid}))
        }
        local::Downed::Ended { nodes } if nodes.is_empty() => {
            return Err(Failure::new(ExitCode::NotRunning, what, "nothing of it runs"));
        }
        local::Downed::Ended { nodes } => (
            "no `jadeshift up` ran; the nodes it had left have ended, and the data is kept".to_string(),
            json!({"up": null, "nodes": nodes}),
        ),
    };
    printer.result(|| line, &value);
    Ok(ExitCode::Ok)
}

fn block_on(command: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("could not start", error))?;
    let result = runtime.block_on(command);
    runtime.shutdown_timeout(RUNTIME_END);
    result
}

/// Commands that only ask may stop anywhere.
async fn until_interrupted(command: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    let mut interrupts = Interrupts::listen()?;
    tokio::select! {
        result = command => result,
        () = interrupts.next() => Ok(ExitCode::Interrupted),
    }
}
