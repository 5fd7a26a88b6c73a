//! The database node as a program of its own.

use clap::Parser;
use std::process::ExitCode;

/// The JadeVectorDB node: a vector database whose history can be followed, sealed and handed over.
#[derive(Parser)]
#[command(name = "jadevectordb", version, after_help = jadevectordb::cli::AFTER_HELP)]
struct Program {
    #[command(flatten)]
    args: jadevectordb::cli::Args,
}

fn main() -> ExitCode {
    jadevectordb::cli::run(Program::parse().args)
}
