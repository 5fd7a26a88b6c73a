//! What the document says about a node, as the node's arguments; the same on every platform.

use wire::document::{Fault, Handover, Index, IndexKind, Quantization, Version};

/// A node waits for the coordinator's word so much longer than the coordinator holds it: when a handover goes back in the
/// last moment, the writes that waited are still there to be admitted.
const HOLD_MARGIN_MS: u64 = 1_000;
/// The longest hold a node takes.
const HOLD_MS_MAX: u64 = 60_000;

/// The arguments that follow from the settings of a version and the bounds of a handover.
pub fn node_flags(settings: &Version, handover: &Handover) -> Vec<String> {
    let hold_ms = (handover.hold_ms_max + HOLD_MARGIN_MS).min(HOLD_MS_MAX);
    let mut flags = vec![
        "--hold-ms".to_string(),
        hold_ms.to_string(),
        "--held-writes-max".into(),
        handover.held_writes_max.to_string(),
    ];
    // Only said when it is not the default: an older node does not know the flag.
    if handover.confirm_ms_max != Handover::default().confirm_ms_max {
        flags.extend(["--confirm-ms".into(), handover.confirm_ms_max.to_string()]);
    }
    if let Some(format) = settings.record_format {
        flags.extend(["--record-format".into(), format.to_string()]);
    }
    flags.extend(index_flags(&settings.index));
    flags.extend(fault_flags(&settings.fault));
    flags
}

fn index_flags(index: &Index) -> Vec<String> {
    let kind = match index.kind {
        IndexKind::Hnsw => "hnsw",
        IndexKind::Flat => "flat",
    };
    let quantization = match index.quantization {
        Quantization::F32 => "f32",
        Quantization::F16 => "f16",
        Quantization::I8 => "i8",
    };
    [
        ("--index-kind", kind.to_string()),
        ("--connectivity", index.connectivity.to_string()),
        ("--expansion-add", index.expansion_add.to_string()),
        ("--expansion-search", index.expansion_search.to_string()),
        ("--quantization", quantization.to_string()),
        ("--exact-up-to", index.exact_up_to.to_string()),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_string(), value])
    .collect()
}

fn fault_flags(fault: &Fault) -> Vec<String> {
    if fault.is_none() {
        return Vec::new();
    }
    let mut parts = Vec::new();
    if fault.errors > 0.0 {
        parts.push(format!("errors={}", fault.errors));
    }
    if fault.wrong_results > 0.0 {
        parts.push(format!("wrong-results={}", fault.wrong_results));
    }
    if fault.latency_ms > 0 {
        parts.push(format!("latency={}ms", fault.latency_ms));
    }
    vec!["--fault".into(), parts.join(",")]
}
