//! Scenarios on the real cluster: each has a namespace of its own, real pods of our node, real load, and the operator as it is
//! installed. `cargo xtask cluster test`.

mod capacity;
mod chart;
mod commands;
mod failing;
mod full;
mod interference;
mod manifests;
mod objects;
mod operators;
mod people;
mod readme;
mod refusals;
mod replicas;
mod rights;
mod routers;
mod scripts;
mod service;
mod trouble;

use super::place::{Extent, Place};
use super::stage::Stage;
use super::{build, edge, image, must_succeed, up};
use crate::bench::process::cargo;
use anyhow::{Context, Result, bail};
use std::pin::Pin;
use std::time::Instant;

/// Versions that the scenarios run: the same node under several labels.
const VERSIONS: [&str; 4] = ["1.0.0", "1.1.0", "1.2.0", "1.3.0"];
pub const OPERATOR_IMAGE: &str = "jadeshift:test";

#[derive(clap::Args)]
pub struct Test {
    /// Only scenarios whose name contains one of these.
    names: Vec<String>,
    /// Says which there are, and plays none.
    #[arg(long)]
    list: bool,
    /// Leaves the namespace of each for a look.
    #[arg(long)]
    keep: bool,
}

type Playing<'a> = Pin<Box<dyn Future<Output = Result<String>> + 'a>>;

struct Scenario {
    name: &'static str,
    about: &'static str,
    needs: Extent,
    /// Plays it; what was measured is said in a line.
    play: for<'a> fn(&'a Stage) -> Playing<'a>,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "service",
        about: "rollouts there and back by a plain Service, under writes, kept and short connections",
        needs: Extent::Pods,
        play: |stage| Box::pin(service::there_and_back(stage)),
    },
    Scenario {
        name: "gateway",
        about: "a rollout through every step by our own gateway, and one that errs",
        needs: Extent::Pods,
        play: |stage| Box::pin(routers::gateway(stage)),
    },
    Scenario {
        name: "http-route",
        about: "the same by an HTTPRoute, with Contour and Envoy",
        needs: Extent::Machine,
        play: |stage| Box::pin(routers::http_route(stage)),
    },
    Scenario {
        name: "replicas",
        about: "two nodes an environment: the head stands still, the other takes its place, and both get a new version",
        needs: Extent::Machine,
        play: |stage| Box::pin(replicas::head_lost(stage)),
    },
    Scenario {
        name: "scripts",
        about: "the walk-through by the scripts: there, back, every canary, a second cycle, a switch, and what is refused",
        needs: Extent::Pods,
        play: |stage| Box::pin(scripts::walk_through(stage)),
    },
    Scenario {
        name: "manifests",
        about: "every committed manifest, accepted as it stands",
        needs: Extent::Api,
        play: |stage| Box::pin(manifests::accepted(stage)),
    },
    Scenario {
        name: "refusals",
        about: "what cannot be done, said with its exit code and with what mends it; nothing is made",
        needs: Extent::Api,
        play: |stage| Box::pin(refusals::before_there_is_any(stage)),
    },
    Scenario {
        name: "readme",
        about: "the README's way from an empty cluster to a promoted version, typed as it stands there",
        needs: Extent::Machine,
        play: |stage| Box::pin(readme::word_for_word(stage)),
    },
    Scenario {
        name: "commands",
        about: "up, down and up again, with the data; who may do what; several deployments; an old definition",
        needs: Extent::Pods,
        play: |stage| Box::pin(commands::there_gone_and_there(stage)),
    },
    Scenario {
        name: "capacity",
        about: "no storage class, no node with room, a full quota: a rollout is refused in words, and begins with room",
        needs: Extent::Pods,
        play: |stage| Box::pin(capacity::without_room(stage)),
    },
    Scenario {
        name: "chart",
        about: "Helm: the chart is what is installed; its operator comes and goes, and everything of the user's stays",
        needs: Extent::Pods,
        play: |stage| Box::pin(chart::there_and_gone(stage)),
    },
    Scenario {
        name: "worse",
        about: "versions that err or give wrong results are taken back by themselves",
        needs: Extent::Pods,
        play: |stage| Box::pin(failing::from_the_start(stage)),
    },
    Scenario {
        name: "fails-later",
        about: "after the switch the new side errs, turns unready, or stands still: back by itself, and when asked",
        needs: Extent::Machine,
        play: |stage| Box::pin(failing::after_the_switch(stage)),
    },
    Scenario {
        name: "operator-killed",
        about: "operators killed at random, and their lease taken away, while rollouts go there and back",
        needs: Extent::Machine,
        play: |stage| Box::pin(trouble::operator_killed(stage)),
    },
    Scenario {
        name: "two-operators",
        about: "two operators at once, each with a lease of its own, and somebody who changes the object all the time",
        needs: Extent::Pods,
        play: |stage| Box::pin(trouble::two_operators(stage)),
    },
    Scenario {
        name: "api-server",
        about: "the API server killed while a version comes up, and after the switch",
        needs: Extent::Machine,
        play: |stage| Box::pin(trouble::api_server_restarted(stage)),
    },
    Scenario {
        name: "by-hand",
        about: "a Service edited by hand, pods evicted and deleted",
        needs: Extent::Pods,
        play: |stage| Box::pin(interference::by_hand(stage)),
    },
    Scenario {
        name: "namespace-gone",
        about: "a namespace deleted in the middle of its rollout, and another one that does not notice",
        needs: Extent::Pods,
        play: |stage| Box::pin(interference::namespace_gone(stage)),
    },
    Scenario {
        name: "no-image",
        about: "an image that is nowhere, and one that never becomes ready",
        needs: Extent::Pods,
        play: |stage| Box::pin(interference::no_image(stage)),
    },
    Scenario {
        name: "claim-full",
        about: "the volume of who serves is full, and that of a candidate",
        needs: Extent::Machine,
        play: |stage| Box::pin(full::claim_full(stage)),
    },
    Scenario {
        name: "rights",
        about: "each rule of the operator's rights removed, and missed",
        needs: Extent::Machine,
        play: |stage| Box::pin(rights::every_rule(stage)),
    },
    Scenario {
        name: "objects",
        about: "objects of Istio, of ingress-nginx and of Prometheus, by their real definitions",
        needs: Extent::Machine,
        play: |stage| Box::pin(objects::accepted(stage)),
    },
];

/// Prepares everything, and plays from inside of the cluster's network.
pub fn test(place: &Place, test: &Test) -> Result<()> {
    if test.list {
        for scenario in SCENARIOS {
            println!("{:<16} {:<8} {}", scenario.name, format!("{:?}", scenario.needs).to_lowercase(), scenario.about);
        }
        return Ok(());
    }
    let packages = ["build", "--release", "--locked", "--bin", "jadeshift", "--bin", "jadevectordb"];
    let built = cargo().args(packages).status().context("cannot run cargo")?;
    must_succeed("cargo build", built)?;
    match place.extent() {
        Extent::Api => up(place, true)?,
        Extent::Pods => eprintln!(
            "the cluster of the given kubeconfig is used; its nodes must have the images {OPERATOR_IMAGE} (target/release/jadeshift) \
             and jadevectordb:{} (target/release/jadevectordb), and its Services must be reached from here",
            VERSIONS.join(", jadevectordb:")
        ),
        Extent::Machine => ours_with_images(place)?,
    }
    install(place)?;
    let mut play = place.command(std::env::current_exe()?);
    play.args(["cluster", "play"]).args(&test.names);
    if test.keep {
        play.arg("--keep");
    }
    must_succeed("the scenarios", play.status()?)
}

fn ours_with_images(place: &Place) -> Result<()> {
    build::everything(place)?;
    build::helm(place)?;
    up(place, false)?;
    edge::start(place)?;
    let ours = place.programs_of_ours();
    for version in VERSIONS {
        image::load(place, &format!("jadevectordb:{version}"), &ours.join("jadevectordb"))?;
    }
    for name in [OPERATOR_IMAGE, readme::IMAGE] {
        image::load(place, name, &ours.join("jadeshift"))?;
    }
    Ok(())
}

fn install(place: &Place) -> Result<()> {
    let mut install = place.command(place.programs_of_ours().join("jadeshift"));
    install.args(["install", "--quiet", "--image", OPERATOR_IMAGE]);
    if place.extent() == Extent::Api {
        // Nobody would run it.
        return must_succeed("jadeshift install", install.args(["--timeout-ms", "0"]).status()?);
    }
    must_succeed("jadeshift install", install.status()?)?;
    // What was installed before may be of another build.
    let restart = ["--namespace=jadeshift-system", "rollout", "restart", "deployment/jadeshift-operator"];
    must_succeed("kubectl rollout restart", place.kubectl().args(restart).status()?)?;
    let status =
        ["--namespace=jadeshift-system", "rollout", "status", "deployment/jadeshift-operator", "--timeout=60s"];
    must_succeed("kubectl rollout status", place.kubectl().args(status).status()?)
}

pub fn play(place: &Place, test: &Test) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut failed = 0;
    for scenario in SCENARIOS {
        let wanted = test.names.is_empty() || test.names.iter().any(|name| scenario.name.contains(name.as_str()));
        if !wanted {
            continue;
        }
        if scenario.needs > place.extent() {
            println!("left out {:<12} it needs {:?}, and there is {:?}", scenario.name, scenario.needs, place.extent());
            continue;
        }
        let began = Instant::now();
        let played = runtime.block_on(async {
            let stage = Stage::open(place, scenario.name)?;
            let played = (scenario.play)(&stage).await;
            // Without its controller a namespace would not go.
            if !test.keep && played.is_ok() && place.extent() > Extent::Api {
                stage.close()?;
            }
            played
        });
        let seconds = began.elapsed().as_secs_f64();
        match played {
            Ok(measured) => println!("ok      {:<12} {seconds:5.1} s  {measured}", scenario.name),
            Err(error) => {
                failed += 1;
                println!("FAILED  {:<12} {seconds:5.1} s  {error:#}", scenario.name);
            }
        }
    }
    match failed {
        0 => Ok(()),
        _ => bail!("{failed} scenarios failed"),
    }
}
