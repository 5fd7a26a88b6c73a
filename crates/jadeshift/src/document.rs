//! Documents as users give them: a file, or standard input.

use crate::failure::Failure;
use std::io::Read;
use std::path::Path;
use wire::document::BlueGreen;

/// A document that can be used, and its text.
#[derive(Debug)]
pub struct Given {
    pub document: BlueGreen,
    pub text: String,
}

/// Whether standard input is meant.
pub fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

/// Reads and validates a document.
///
/// # Errors
/// With [`crate::exit::ExitCode::Usage`], naming the file, the field and the rule.
pub fn read(file: &Path) -> Result<Given, Failure> {
    let what = format!("could not use the document {}", shown(file));
    let text = match is_stdin(file) {
        true => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map(|_| text)
        }
        false => std::fs::read_to_string(file),
    };
    let text = text.map_err(|error| Failure::usage(&what, error))?;
    let document = BlueGreen::from_yaml(&text)
        .map_err(|error| Failure::usage(&what, error).advise("correct it, and try `jadeshift check` on it"))?;
    Ok(Given { document, text })
}

/// What a file is called.
pub fn shown(file: &Path) -> String {
    if is_stdin(file) { "of standard input".into() } else { file.display().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::ExitCode;

    #[test]
    fn a_document_that_cannot_be_used_is_a_usage_error_with_file_and_field() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shop.yaml");
        std::fs::write(
            &file,
            "apiVersion: jadevectordb.io/v1alpha1\nkind: BlueGreen\nmetadata: {name: a, shade: blue}\n",
        )
        .unwrap();
        let failure = read(&file).unwrap_err();
        assert_eq!(failure.code, ExitCode::Usage);
        let message = failure.to_string();
        assert!(message.contains("shop.yaml") && message.contains("shade"), "{message}");
    }
}
