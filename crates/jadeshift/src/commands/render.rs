//! `jadeshift render`: what a cluster needs, as YAML or as files.

use crate::cli::{Globals, Rendered};
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::output::print;
use kubernetes::files::{self, yaml};
use kubernetes::install::Install;
use std::path::Path;

pub fn run(globals: &Globals, what: &Rendered) -> Result<ExitCode, Failure> {
    match what {
        Rendered::Crd => print(&yaml(&[kubernetes::resource::definition()])),
        Rendered::Install => {
            print(&yaml(&Install { only: globals.namespace.clone(), ..Install::default() }.objects()));
        }
        Rendered::Deployments { to } => write(to)?,
    }
    Ok(ExitCode::Ok)
}

fn write(folder: &Path) -> Result<(), Failure> {
    for file in files::all() {
        let path = folder.join(&file.path);
        let written = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        written
            .and_then(|()| std::fs::write(&path, &file.text))
            .map_err(|error| Failure::failed(format!("{} cannot be written", path.display()), error))?;
        print(&format!("{}\n", path.display()));
    }
    Ok(())
}
