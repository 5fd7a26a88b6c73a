//! Images without a builder: one layer with one program and the libraries that it needs, as a tar that containerd imports.

use super::must_succeed;
use super::place::Place;
use anyhow::{Context, Result, bail};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Who pods run as.
const USER: u32 = 65532;

pub fn ctr(place: &Place) -> Command {
    let mut command = Command::new(place.program("ctr"));
    command.arg("--address").arg(place.containerd_socket()).args(["--namespace", "k8s.io"]);
    command
}

/// Makes the image `name`, which begins with `program`, and gives it to the node.
pub fn load(place: &Place, name: &str, program: &Path) -> Result<()> {
    let layer = layer(program).with_context(|| format!("cannot pack {}", program.display()))?;
    let hash = digest(&layer);
    let file_name = program.file_name().and_then(|name| name.to_str()).context("a program without a name")?;
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": format!("{USER}:{USER}"),
            "Entrypoint": [format!("/usr/bin/{file_name}")],
            "Env": ["PATH=/usr/bin"],
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{hash}")]},
    });
    let config = serde_json::to_vec(&config)?;
    let config_name = format!("{}.json", digest(&config));
    let whole_name = if name.contains('/') { name.to_owned() } else { format!("docker.io/library/{name}") };
    let manifest = serde_json::to_vec(&json!([{
        "Config": config_name, "RepoTags": [whole_name], "Layers": ["layer.tar"],
    }]))?;
    let mut image = tar::Builder::new(Vec::new());
    for (entry, content) in [("manifest.json", &manifest), (config_name.as_str(), &config), ("layer.tar", &layer)] {
        append(&mut image, entry, content, 0o644)?;
    }
    let mut import = ctr(place).args(["images", "import", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let mut input = import.stdin.take().context("no way to the importer")?;
    std::io::copy(&mut image.into_inner()?.as_slice(), &mut input).context("cannot hand over the image")?;
    drop(input);
    must_succeed(&format!("importing the image {name}"), import.wait()?)
}

fn layer(program: &Path) -> Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    let name = program.file_name().and_then(|name| name.to_str()).context("a program without a name")?;
    append(&mut layer, &format!("usr/bin/{name}"), &stripped(program)?, 0o755)?;
    for library in libraries(program)? {
        let path = library.strip_prefix("/").unwrap_or(&library).display().to_string();
        append(&mut layer, &path, &fs::read(&library)?, 0o755)?;
    }
    // A place for temporary files, and a name for the user.
    append(&mut layer, "etc/passwd", format!("nonroot:x:{USER}:{USER}::/:/sbin/nologin\n").as_bytes(), 0o644)?;
    Ok(layer.into_inner()?)
}

/// Without what is for debuggers only.
fn stripped(program: &Path) -> Result<Vec<u8>> {
    let file = tempfile::NamedTempFile::new()?;
    let status = Command::new("strip").arg("-o").arg(file.path()).arg(program).status().context("cannot run strip")?;
    must_succeed("strip", status)?;
    Ok(fs::read(file.path())?)
}

/// What the loader would load.
fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let listed = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    if !listed.status.success() {
        let reason = String::from_utf8_lossy(&listed.stderr).into_owned() + &text;
        // A program without libraries is no error.
        return if reason.contains("not a dynamic executable") { Ok(BTreeSet::new()) } else { bail!("ldd: {reason}") };
    }
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(paths.map(PathBuf::from).collect())
}

fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn append(archive: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8], mode: u32) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    archive.append_data(&mut header, path, content).with_context(|| format!("cannot pack {path}"))
}
