//! Accounts with one role each, and what commands answer to them.

use super::super::place::Place;
use super::super::stage::Stage;
use super::service::HASTY;
use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub const USAGE: i32 = 2;
pub const REFUSED: i32 = 3;
pub const NOT_RUNNING: i32 = 4;
pub const TIMED_OUT: i32 = 5;

/// The people of this story, each with an account that has one role.
pub struct People {
    pub admin: PathBuf,
    pub promoter: PathBuf,
    pub viewer: PathBuf,
    pub nobody: PathBuf,
}

impl People {
    pub fn make(stage: &Stage, folder: &Path) -> Result<People> {
        let place = Place::of_this_workspace()?;
        let one = |name: &str| -> Result<PathBuf> {
            stage.kubectl(&["create", "serviceaccount", name])?;
            if name != "nobody" {
                let (role, who) = (format!("--clusterrole=jadeshift-{name}"), format!("{}:{name}", stage.namespace));
                stage.kubectl(&["create", "rolebinding", name, &role, &format!("--serviceaccount={who}")])?;
            }
            let token = stage.kubectl(&["create", "token", name])?;
            place.write_kubeconfig(folder.join(name), &token, None)
        };
        Ok(People { admin: one("admin")?, promoter: one("promoter")?, viewer: one("viewer")?, nobody: one("nobody")? })
    }

    /// One of our commands, as one of them types it.
    pub fn jadeshift(&self, stage: &Stage, who: &Path, line: &str) -> Result<Command> {
        let mut command = Command::new(stage.program());
        command.args(["--namespace", &stage.namespace, "--kubeconfig"]).arg(who).args(line.split(' '));
        Ok(command)
    }
}

/// A document with this name.
pub fn document(stage: &Stage, name: &str) -> String {
    format!(
        "apiVersion: jadevectordb.io/v1alpha1\nkind: BlueGreen\nmetadata: {{name: {name}, namespace: {}}}\nspec:\n  \
         mode: development\n  version: 1.0.0\n{HASTY}",
        stage.namespace
    )
}

/// It ended with `code`, and said `why`.
pub fn must(output: &Output, code: i32, why: &str) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let right = output.status.code() == Some(code) && said.contains(why);
    ensure!(right, "ended with {}, wanted was {code} and `{why}`: {said}", output.status);
    Ok(())
}
