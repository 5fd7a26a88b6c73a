//! Telling a value to whoever watches it, only when it is another one.

use tokio::sync::watch;

pub(crate) fn tell<T: PartialEq>(watched: &watch::Sender<T>, value: T) {
    watched.send_if_modified(|current| {
        let changed = *current != value;
        *current = value;
        changed
    });
}
