//! The README's way from `jadeshift install` to a promoted version, typed as it stands there.

use super::super::place::Place;
use super::super::stage::Stage;
use super::{OPERATOR_IMAGE, install};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Where the steps begin, and what comes after them.
const BEGIN: &str = "**2. The operator.**";
const END: &str = "### Commands";
/// The namespace that they name.
const NAMESPACE: &str = "shop";
/// Of the operator, by the default of `jadeshift install`.
pub const IMAGE: &str = "jadeshift:0.1.0";

/// A part of the text between two fences.
#[derive(Debug, PartialEq)]
struct Block {
    /// `sh` is typed, `yaml` is the document, and the rest is what the last command shows.
    language: String,
    text: String,
}

pub async fn word_for_word(stage: &Stage) -> Result<String> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let blocks = blocks(&fs::read_to_string(readme).context("cannot read README.md")?)?;
    let place = Place::of_this_workspace()?;
    remove(stage)?;
    let typed = typed(stage, &blocks);
    // The other scenarios want their operator and its image.
    let given_back = install(&place);
    let typed = typed?;
    given_back.context(OPERATOR_IMAGE)?;
    remove(stage)?;
    Ok(typed)
}

fn typed(stage: &Stage, blocks: &[Block]) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let (mut said, mut typed) = (String::new(), 0);
    for block in blocks {
        match block.language.as_str() {
            "yaml" => fs::write(folder.path().join("shop.yaml"), &block.text)?,
            "sh" => {
                said = shell(stage, folder.path(), &block.text)?;
                typed += 1;
            }
            _ => shows(&said, &block.text)?,
        }
    }
    ensure!(said.contains(NAMESPACE), "the last block shows no deployment: {said}");
    Ok(format!("{typed} blocks typed, one document"))
}

/// As a person's shell has it: our program and kubectl in the PATH.
fn shell(stage: &Stage, folder: &Path, text: &str) -> Result<String> {
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", text]).current_dir(folder).env("PATH", stage.path()?);
    let output = bash.output().context("cannot run bash")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{text}: {}: {said}{complained}", output.status);
    Ok(said)
}

/// The same words, in any width, but for the age.
fn shows(said: &str, wanted: &str) -> Result<()> {
    for line in wanted.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let known = &words[..words.len().saturating_sub(1)];
        let found = said.lines().any(|said| said.split_whitespace().take(known.len()).eq(known.iter().copied()));
        ensure!(found, "`{line}` is not what is shown: {said}");
    }
    Ok(())
}

fn remove(stage: &Stage) -> Result<()> {
    stage.kubectl(&["delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=90s"]).map(|_| ())
}

fn blocks(readme: &str) -> Result<Vec<Block>> {
    let (_, steps) = readme.split_once(BEGIN).with_context(|| format!("no `{BEGIN}`"))?;
    let (steps, _) = steps.split_once(END).with_context(|| format!("no `{END}` after it"))?;
    let parts: Vec<&str> = steps.split("```").collect();
    // Text and blocks take turns.
    let blocks = parts.iter().skip(1).step_by(2).filter_map(|part| {
        let (language, text) = part.split_once('\n')?;
        Some(Block { language: language.into(), text: text.into() })
    });
    let blocks: Vec<Block> = blocks.collect();
    ensure!(blocks.iter().any(|block| block.language == "yaml"), "no document in the steps");
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_are_found_in_their_order() {
        let readme = include_str!("../../../../README.md");
        let languages: Vec<String> = blocks(readme).unwrap().into_iter().map(|block| block.language).collect();
        assert_eq!(languages, ["sh", "yaml", "sh", "sh", ""]);
    }

    #[test]
    fn what_is_shown_may_be_wider_and_older() {
        let said = "NAMESPACE  NAME  AGE\nother  x  1m\nshop    shop  7m\n";
        assert!(shows(said, "NAMESPACE NAME AGE\nshop shop 5m\n").is_ok());
        assert!(shows(said, "shop bazaar 5m\n").is_err());
    }
}
