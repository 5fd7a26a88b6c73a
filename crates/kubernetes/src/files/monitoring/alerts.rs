//! What somebody is called for. `critical`: now; `warning`: in the hours in which people work.

mod data;
mod operator;
mod rollout;
mod traffic;

use super::alert::Alert;

pub struct Group {
    pub name: &'static str,
    pub alerts: &'static [Alert],
}

pub fn groups() -> [Group; 4] {
    [
        Group { name: "jadeshift-operator", alerts: &operator::ALERTS },
        Group { name: "jadeshift-rollout", alerts: &rollout::ALERTS },
        Group { name: "jadeshift-data", alerts: &data::ALERTS },
        Group { name: "jadeshift-traffic", alerts: &traffic::ALERTS },
    ]
}
