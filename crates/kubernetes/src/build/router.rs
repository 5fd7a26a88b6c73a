//! What leads requests to the environments, beside the Services. Each kind of router has a share for each environment in one field
//! of one object, so that one call changes it.

mod http_route;
mod ingress;
mod istio;

use super::{Object, Wanted};
use wire::document::RouterKind;

/// Header by which a client picks an environment by hand.
const HEADER: &str = wire::headers::CANARY;

pub(super) fn objects(wanted: &Wanted) -> Vec<Object> {
    match wanted.document.spec.cluster.router.kind {
        RouterKind::Service | RouterKind::Gateway => Vec::new(),
        RouterKind::Ingress => vec![ingress::plain(wanted)],
        RouterKind::NginxIngress => ingress::of_nginx(wanted).into(),
        RouterKind::HttpRoute => vec![http_route::route(wanted)],
        RouterKind::Istio => istio::rules(wanted),
    }
}
