//! The images that users build: made with the compiler that the project pins, and run as who the pods run as.

use crate::install::USER;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn images_fit_the_pinned_compiler_and_the_pods() {
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap().trim_matches('"');
    for program in ["jadeshift", "jadevectordb"] {
        let dockerfile = read(&format!("deployments/docker/Dockerfile.{program}"));
        for line in [
            format!("ARG RUST_VERSION={channel}"),
            format!("USER {USER}:{USER}"),
            format!("ENTRYPOINT [\"/usr/bin/{program}\"]"),
        ] {
            assert!(dockerfile.lines().any(|found| found == line), "`{line}` is missing for {program}");
        }
    }
}
