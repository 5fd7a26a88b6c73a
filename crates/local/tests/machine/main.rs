//! The platform with real processes. This program is test and node at once: started with the word `node`, it is a small node
//! (`fake_node.rs`), and with the word `supervise`, an `up` that a test can kill.

mod deployment;
mod fake_node;
mod place;
mod routing;
mod runner;
mod supervision;

fn main() -> std::process::ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("node") => fake_node::main(),
        Some("supervise") => deployment::supervise(),
        _ => runner::run(&[supervision::TESTS, routing::TESTS, deployment::TESTS].concat()),
    }
}
