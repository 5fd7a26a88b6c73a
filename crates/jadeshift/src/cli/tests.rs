use super::*;
use clap::CommandFactory;

/// Lines of all examples, with the command they stand under.
fn examples() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for command in Cli::command().get_subcommands() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let lines = help.lines().map(str::trim).filter(|line| line.starts_with("jadeshift "));
        found.extend(lines.map(|line| (command.get_name().to_string(), line.to_string())));
    }
    found
}

/// Splits like a shell, as far as the examples need it; what another program does with the output is not looked at.
fn words(line: &str) -> Vec<String> {
    let line = line.split(" | ").next().unwrap_or(line);
    let outside_and_inside = line.split('\'').enumerate();
    outside_and_inside
        .flat_map(|(position, part)| match position % 2 {
            0 => part.split_whitespace().map(str::to_string).collect(),
            _ => vec![part.to_string()],
        })
        .collect()
}

#[test]
fn the_definition_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_examples_and_each_can_be_typed() {
    let examples = examples();
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        assert!(examples.iter().any(|(of, _)| of == name), "{name} has no example");
    }
    for (_, line) in examples {
        if let Err(error) = Cli::try_parse_from(words(&line)) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn global_options_are_taken_before_and_after_the_command() {
    for line in ["jadeshift --dir x --output json info", "jadeshift info --output json --dir x"] {
        let cli = Cli::try_parse_from(words(line)).unwrap();
        assert_eq!((cli.globals.dir, cli.globals.output), (PathBuf::from("x"), Output::Json));
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for line in [
        "jadeshift switch purple",
        "jadeshift canary most",
        "jadeshift deploy 1.1.0 --timeout-ms 5000",
        "jadeshift monitor --interval-ms 0",
        "jadeshift up --gateway localhost",
        "jadeshift info -q -v",
        "jadeshift deploy",
    ] {
        assert!(Cli::try_parse_from(words(line)).is_err(), "{line}");
    }
}

#[test]
fn the_long_help_lists_the_exit_codes() {
    let help = Cli::command().render_long_help().to_string();
    assert!(help.contains(exit::HELP), "{help}");
}

#[test]
fn as_a_plugin_it_speaks_of_itself_as_kubectl_calls_it() {
    let help = |line| Cli::of(words(line).into_iter().map(OsString::from).collect()).unwrap_err().to_string();
    let text = help("/usr/local/bin/kubectl-jadeshift rollback --help");
    assert!(text.contains("Usage: kubectl jadeshift rollback [OPTIONS]"), "{text}");
    assert!(text.contains("  kubectl jadeshift rollback --accept-loss"), "{text}");
    assert!(!text.contains("--dir"), "{text}");
    let text = help("/usr/local/bin/jadeshift rollback --help");
    assert!(text.contains("Usage: jadeshift rollback [OPTIONS]") && text.contains("--dir"), "{text}");
}
