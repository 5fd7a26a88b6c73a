//! What happened, as events of the object: `kubectl describe` shows them. They are sent beside the work, and may be lost.

use crate::names::FIELD_MANAGER;
use crate::resource::BlueGreenObject;
use conductor::Info;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use rollout::Phase;
use tokio::sync::mpsc;

/// Events that may wait; further ones are dropped.
const WAITING_MAX: usize = 256;
/// Longest text that an event may have, bytes.
const NOTE_BYTES_MAX: usize = 1_000;

/// Cloning gives another handle.
#[derive(Clone)]
pub(super) struct Events {
    waiting: mpsc::Sender<(Event, ObjectReference)>,
}

impl Events {
    pub fn start(client: Client) -> Self {
        let (waiting, mut events) = mpsc::channel::<(Event, ObjectReference)>(WAITING_MAX);
        let recorder = Recorder::new(client, Reporter::from(FIELD_MANAGER));
        tokio::spawn(async move {
            while let Some((event, about)) = events.recv().await {
                if let Err(error) = recorder.publish(&event, &about).await {
                    tracing::debug!(%error, "an event was not taken");
                }
            }
        });
        Self { waiting }
    }

    pub fn publish(&self, object: &BlueGreenObject, info: &Info, text: &str) {
        let bad =
            matches!(info.phase.unpaused(), Phase::RollingBack { .. }) || info.last_error.as_deref() == Some(text);
        let event = Event {
            type_: if bad { EventType::Warning } else { EventType::Normal },
            reason: super::status::camel(info.phase.name()),
            note: Some(shortened(text)),
            action: "Conduct".into(),
            secondary: None,
        };
        // Who has no room for it has more urgent things to do.
        let _ = self.waiting.try_send((event, object.object_ref(&())));
    }
}

fn shortened(text: &str) -> String {
    let end = (0..=NOTE_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].into()
}
