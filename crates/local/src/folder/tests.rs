use super::*;
use rollout::Phase;
use wire::ByColour;

fn state(generation: u64) -> State {
    State {
        generation,
        epoch: 1,
        primary: Colour::Blue,
        primary_epoch: 1,
        promoted_at: None,
        confirmation: rollout::Confirmation::Off,
        confirmation_changes: 0,
        replicas: rollout::Replicas::default(),
        active: Colour::Blue,
        versions: ByColour::new(Some("1.0.0".into()), None),
        phase: Phase::Stable,
        run: None,
        history: Vec::new(),
    }
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn only_its_owner_can_look_into_a_new_folder() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(&place.path().join("a/shop")).unwrap();
    assert_eq!(mode(folder.root()), 0o700);
    let token = folder.admin_token().unwrap();
    assert_eq!(token.len(), 2 * SECRET_BYTES);
    assert_eq!(mode(&folder.admin_token_path()), 0o600);
    assert_ne!(token, folder.admin_password().unwrap());
    std::fs::set_permissions(folder.admin_token_path(), Permissions::from_mode(0o644)).unwrap();
    assert_eq!(Folder::open(folder.root()).unwrap().admin_token().unwrap(), token);
    assert_eq!(mode(&folder.admin_token_path()), 0o600);
}

#[test]
fn a_generation_is_stored_once_and_in_order() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    assert_eq!(folder.load_state().unwrap(), None);
    assert!(matches!(folder.store_state(&state(2)), Err(FolderError::Conflict { stored: 0, offered: 2 })));
    folder.store_state(&state(1)).unwrap();
    folder.store_state(&state(2)).unwrap();
    for offered in [0, 1, 2, 4] {
        let error = folder.store_state(&state(offered)).unwrap_err();
        assert!(matches!(error, FolderError::Conflict { stored: 2, offered: o } if o == offered), "{error}");
    }
    assert_eq!(Folder::open(place.path()).unwrap().load_state().unwrap(), Some(state(2)));
    assert_eq!(mode(&folder.state_path()), 0o600);
}

#[test]
fn of_two_coordinators_one_stores() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    folder.store_state(&state(1)).unwrap();
    let stored: Vec<bool> = std::thread::scope(|scope| {
        let attempts: Vec<_> = (0..8).map(|_| scope.spawn(|| folder.store_state(&state(2)).is_ok())).collect();
        attempts.into_iter().map(|attempt| attempt.join().unwrap()).collect()
    });
    assert_eq!(stored.iter().filter(|stored| **stored).count(), 1);
}

#[test]
fn a_state_that_cannot_be_understood_is_named_and_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    std::fs::write(folder.state_path(), "{\"generation\": 7").unwrap();
    assert!(folder.load_state().unwrap_err().to_string().contains("state.json"));
    assert!(folder.store_state(&state(1)).is_err());
    assert_eq!(std::fs::read_to_string(folder.state_path()).unwrap(), "{\"generation\": 7");
}

#[test]
fn a_second_holder_is_refused_by_name_until_the_first_lets_go() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    let lock = folder.lock().unwrap();
    let message = Folder::open(place.path()).unwrap().lock().unwrap_err().to_string();
    assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
    assert!(message.contains(&folder.root().display().to_string()) && message.contains("jadeshift down"), "{message}");
    drop(lock);
    folder.lock().unwrap();
}

#[test]
fn a_newer_layout_is_refused_and_not_touched() {
    let place = tempfile::tempdir().unwrap();
    Folder::open(place.path()).unwrap();
    std::fs::write(place.path().join("folder.json"), "{\"format\": 3, \"more\": true}").unwrap();
    let message = Folder::open(place.path()).unwrap_err().to_string();
    assert!(message.contains("layout 3") && message.contains("up to 2"), "{message}");
    assert_eq!(std::fs::read_to_string(place.path().join("folder.json")).unwrap(), "{\"format\": 3, \"more\": true}");
}

#[test]
fn an_older_layout_becomes_ours_with_the_first_store() {
    let place = tempfile::tempdir().unwrap();
    let layout = place.path().join("folder.json");
    std::fs::write(&layout, "{\"format\": 1}").unwrap();
    std::fs::write(place.path().join("state.json"), serde_json::to_vec_pretty(&state(1)).unwrap()).unwrap();
    let folder = Folder::open(place.path()).unwrap();
    assert_eq!(folder.load_state().unwrap(), Some(state(1)));
    assert_eq!(std::fs::read_to_string(&layout).unwrap(), "{\"format\": 1}", "looking changes nothing");
    folder.store_state(&state(2)).unwrap();
    assert!(std::fs::read_to_string(&layout).unwrap().contains('2'));
    assert_eq!(Folder::open(place.path()).unwrap().load_state().unwrap(), Some(state(2)));
}

#[test]
fn data_without_a_state_is_not_begun_anew() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    folder.create_data(Colour::Green.into()).unwrap();
    folder.check_history().unwrap();
    std::fs::write(folder.data(Colour::Green).join("log"), "x").unwrap();
    let message = folder.check_history().unwrap_err().to_string();
    assert!(message.contains("state.json") && message.contains("green"), "{message}");
    folder.store_state(&state(1)).unwrap();
    folder.check_history().unwrap();
}

#[test]
fn the_nodes_of_an_environment_have_files_of_their_own_and_surplus_ones_are_not_forgotten() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    let (first, second) = (Member::from(Colour::Blue), Member::new(Colour::Blue, 1));
    assert_eq!(folder.data(first), folder.data(Colour::Blue));
    assert!(folder.data(second).ends_with("blue-1") && folder.ready_path(second).ends_with("blue-1.ready"));
    assert_eq!(folder.members(1), [first, Colour::Green.into()]);
    folder.store_record(second, &1).unwrap();
    assert_eq!(folder.members(1), [first, second, Colour::Green.into()], "it was started when there were more");
    assert_eq!(folder.members(2).len(), 4);

    folder.create_data(second).unwrap();
    std::fs::write(folder.data(second).join("log"), "x").unwrap();
    assert!(folder.check_history().unwrap_err().to_string().contains("blue-1"));
}

#[test]
fn the_document_in_force_comes_back() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    assert_eq!(folder.load_document().unwrap(), None);
    let document = wire::document::BlueGreen::named("shop");
    folder.store_document(&document).unwrap();
    assert_eq!(folder.load_document().unwrap(), Some(document));
}

#[test]
fn a_long_log_is_set_aside_and_the_last_line_is_found() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    assert_eq!(folder.last_log_line(Colour::Blue.into()), None);
    folder.open_log(Colour::Blue.into()).unwrap().write_all(b"first\nlast words\n\n").unwrap();
    folder.open_log(Colour::Blue.into()).unwrap();
    assert_eq!(folder.last_log_line(Colour::Blue.into()).as_deref(), Some("last words"));
    File::options().write(true).open(folder.log_path(Colour::Blue)).unwrap().set_len(LOG_BYTES_MAX + 1).unwrap();
    folder.open_log(Colour::Blue.into()).unwrap();
    assert_eq!(folder.log_path(Colour::Blue).metadata().unwrap().len(), 0);
    assert_eq!(folder.root().join("logs/blue.log.1").metadata().unwrap().len(), LOG_BYTES_MAX + 1);
}

/// `state.json` of older versions: see `recorded/README.md`. What was recorded is never made anew.
#[test]
fn what_older_versions_stored_is_read_and_stored_again() {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("recorded/1-first");
    let mut phases = Vec::new();
    for entry in std::fs::read_dir(recorded).unwrap() {
        let path = entry.unwrap().path();
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(&place.path().join("shop")).unwrap();
        std::fs::copy(&path, folder.root().join("state.json")).unwrap();
        let state = folder.load_state().unwrap_or_else(|error| {
            panic!("{}: {error}. An older version wrote this: never record it anew", path.display())
        });
        let state = state.unwrap();
        let first = path.ends_with("state-first.json");
        assert_eq!((state.generation, state.epoch), if first { (1, 1) } else { (41, 7) }, "{}", path.display());
        if !first {
            assert_eq!((state.primary, state.primary_epoch, state.promoted_at), (Colour::Green, 6, Some(1234)));
            assert_eq!(state.versions, ByColour::new(Some("1.1.0".into()), Some("1.0.0".into())));
            assert_eq!(state.history.len(), 2);
            assert_eq!(state.run.as_ref().unwrap().started_ms, 1_700_000_000_000);
        }
        // Named as it was, with every field as it was.
        let before: serde_json::Value = read_json(&path).unwrap().unwrap();
        assert_contains(&serde_json::to_value(&state).unwrap(), &before, &path.display().to_string());
        let name = match &state.phase {
            Phase::HandingOver { stage, .. } => serde_json::to_value(stage).unwrap()["stage"].clone(),
            phase => serde_json::to_value(phase).unwrap()["name"].clone(),
        };
        phases.push(name.as_str().unwrap().to_owned());
        folder.store_state(&State { generation: state.generation + 1, ..state }).unwrap();
    }
    phases.sort();
    phases.dedup();
    assert_eq!(phases.len(), 17, "{phases:?}");
}

fn assert_contains(value: &serde_json::Value, part: &serde_json::Value, place: &str) {
    match part {
        serde_json::Value::Object(fields) => {
            for (name, part) in fields {
                assert_contains(&value[name], part, &format!("{place}: {name}"));
            }
        }
        serde_json::Value::Array(parts) => {
            assert_eq!(value.as_array().map(Vec::len), Some(parts.len()), "{place}");
            for (at, part) in parts.iter().enumerate() {
                assert_contains(&value[at], part, &format!("{place}: [{at}]"));
            }
        }
        part => assert_eq!(value, part, "{place}. An older version wrote this: never record it anew"),
    }
}
