//! Is there room for a version on the cluster? Asked before a rollout begins, and answered roughly as scheduler and quotas
//! would decide later: values in, a sentence out. What is not known is no reason to refuse.

mod look;
mod quantity;
mod read;

pub use look::{Plan, check};
pub use quantity::{Amounts, Quantity};

/// What a rollout needs that is not there yet.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Need {
    /// Pods that are started, all alike.
    pub pods: usize,
    pub each: PodAmounts,
    /// Of the pods that end before these start.
    pub replaced: Vec<PodAmounts>,
    /// Volumes that have to be made.
    pub claims: usize,
    /// Size of each.
    pub storage: Quantity,
    pub class_name: Option<String>,
}

/// What a pod asks for, and how much it may use at most.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PodAmounts {
    pub requests: Amounts,
    pub limits: Amounts,
}

/// What there is. `None`: nobody could look at it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cluster {
    pub nodes: Option<Vec<NodeRoom>>,
    /// Those of the namespace that count pods like ours.
    pub quotas: Option<Vec<Quota>>,
    pub classes: Option<Vec<Class>>,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NodeRoom {
    pub name: String,
    /// It is neither cordoned nor tainted.
    pub takes_pods: bool,
    /// With the number of its pods among them, as `pods`.
    pub allocatable: Amounts,
    /// By the pods on it, without those that are replaced.
    pub used: Amounts,
}

/// A limit of the namespace.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Quota {
    pub name: String,
    pub hard: Amounts,
    pub used: Amounts,
}

/// A storage class.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Class {
    pub name: String,
    pub is_default: bool,
}

/// What the need lacks, how much of it there is, and what to do; `None`: nothing that is known.
pub fn shortfall(need: &Need, cluster: &Cluster) -> Option<String> {
    let classes = cluster.classes.as_deref();
    let mut lacks: Vec<String> = classes.and_then(|classes| without_class(need, classes)).into_iter().collect();
    let default = || Some(classes?.iter().find(|class| class.is_default)?.name.as_str());
    let class = need.class_name.as_deref().or_else(default);
    lacks.extend(cluster.quotas.iter().flatten().flat_map(|quota| beyond(need, class, quota)));
    lacks.extend(cluster.nodes.as_ref().and_then(|nodes| without_place(need, nodes)));
    (!lacks.is_empty()).then(|| lacks.join("; "))
}

/// Nobody would make the volumes.
fn without_class(need: &Need, classes: &[Class]) -> Option<String> {
    const FIELD: &str = "spec.cluster.storage.className";
    if need.claims == 0 {
        return None;
    }
    let names: Vec<&str> = classes.iter().map(|class| class.name.as_str()).collect();
    let one_of = match names.is_empty() {
        true => "; the cluster has none at all".to_string(),
        false => format!(", or set {FIELD} to one that is there: {}", names.join(", ")),
    };
    match need.class_name.as_deref() {
        // Such a claim takes a volume that a person made.
        Some("") => None,
        Some(name) if names.contains(&name) => None,
        Some(name) => Some(format!("there is no storage class `{name}` ({FIELD}) for its volume: make it{one_of}")),
        None if classes.iter().any(|class| class.is_default) => None,
        None => Some(format!("no storage class is the default, and {FIELD} names none: make one the default{one_of}")),
    }
}

/// What a quota counts under one of its names.
enum Counted<'a> {
    Nothing,
    Of {
        needed: Quantity,
        given_back: Quantity,
        advice: &'a str,
    },
    /// It refuses every pod that does not say this.
    Unsaid {
        field: String,
    },
}

/// Everything that a quota would refuse.
fn beyond(need: &Need, class: Option<&str>, quota: &Quota) -> Vec<String> {
    let lacks = quota.hard.iter().filter_map(|(name, hard)| match counted(need, class, name) {
        Counted::Nothing => None,
        Counted::Unsaid { field } => {
            Some(format!("the quota {} wants every pod to say its {name}, and {field} is not set: set it", quota.name))
        }
        Counted::Of { needed, given_back, advice } => {
            let used = quota.used.get(name).copied().unwrap_or_default();
            let left = hard.plus(given_back).minus(used);
            (needed > left).then(|| {
                let (needed, left, hard) = (needed.at_least(name), left.at_most(name), hard.at_most(name));
                let of_quota = format!("the quota {} leaves {left} of {hard} for {name}", quota.name);
                format!("{of_quota}, and {needed} is needed: raise it, or {advice}")
            })
        }
    });
    lacks.collect()
}

fn counted<'a>(need: &Need, class: Option<&str>, name: &str) -> Counted<'a> {
    let of_storage = match name.split_once(".storageclass.storage.k8s.io/") {
        Some((of_class, _)) if class != Some(of_class) => return Counted::Nothing,
        Some((_, of_storage)) => of_storage,
        None => name,
    };
    match of_storage {
        "persistentvolumeclaims" | "count/persistentvolumeclaims" => Counted::Of {
            needed: Quantity::whole(need.claims),
            given_back: Quantity::ZERO,
            advice: "remove claims whose data nobody wants",
        },
        "requests.storage" => Counted::Of {
            needed: need.storage.times(need.claims),
            given_back: Quantity::ZERO,
            advice: "ask for less in spec.cluster.storage.size",
        },
        "pods" | "count/pods" => Counted::Of {
            needed: Quantity::whole(need.pods),
            given_back: Quantity::whole(need.replaced.len()),
            advice: "remove pods that nobody needs",
        },
        _ => of_pods(need, name),
    }
}

fn of_pods<'a>(need: &Need, name: &str) -> Counted<'a> {
    type Part = fn(&PodAmounts) -> &Amounts;
    let requests: (&str, Part) = ("requests", |amounts| &amounts.requests);
    let limits: (&str, Part) = ("limits", |amounts| &amounts.limits);
    let ((part_name, part), resource) = match name.split_once('.') {
        Some(("requests", resource)) => (requests, resource),
        Some(("limits", resource)) => (limits, resource),
        _ => (requests, name),
    };
    match part(&need.each).get(resource) {
        Some(each) => {
            let given_back = need.replaced.iter().filter_map(|pod| part(pod).get(resource));
            Counted::Of {
                needed: each.times(need.pods),
                given_back: given_back.fold(Quantity::ZERO, |sum, amount| sum.plus(*amount)),
                advice: "ask for less in spec.cluster.resources",
            }
        }
        None if matches!(resource, "cpu" | "memory") => {
            Counted::Unsaid { field: format!("spec.cluster.resources.{part_name}.{resource}") }
        }
        None => Counted::Nothing,
    }
}

/// No node takes the pods, or not all of them. They are all alike, so it is enough to count how many fit on each.
fn without_place(need: &Need, nodes: &[NodeRoom]) -> Option<String> {
    const FIELD: &str = "spec.cluster.resources.requests";
    let open: Vec<&NodeRoom> = nodes.iter().filter(|node| node.takes_pods).collect();
    let mut asked = need.each.requests.clone();
    asked.retain(|_, amount| *amount > Quantity::ZERO);
    let amounts: Vec<String> = asked.iter().map(|(name, amount)| format!("{name} {}", amount.at_least(name))).collect();
    asked.insert("pods".into(), Quantity::whole(1));
    let places = open.iter().map(|node| node.places(&asked)).fold(0, usize::saturating_add);
    if places >= need.pods {
        return None;
    }
    let closed = nodes.len() - open.len();
    let Some(best) = open.iter().max_by(|one, other| one.part_left(&asked).total_cmp(&other.part_left(&asked))) else {
        let advice = "uncordon one, remove a taint, or add a node";
        return Some(format!("no node takes pods ({closed} cordoned or tainted): {advice}"));
    };
    let asks = match (amounts.is_empty(), need.pods) {
        (true, _) => String::new(),
        (false, 1) => format!(", which asks for {}", amounts.join(" and ")),
        (false, _) => format!(", each of which asks for {}", amounts.join(" and ")),
    };
    let what = match need.pods {
        1 => format!("no node has room for its pod{asks}"),
        pods => format!("the nodes have room for {places} of its {pods} pods{asks}"),
    };
    let short: Vec<String> = best.short_of(&asked).iter().map(|name| best.left_in_words(name)).collect();
    let others = match closed {
        0 => String::new(),
        _ => format!(" ({closed} more cordoned or tainted)"),
    };
    let (short, best) = (short.join(" and "), &best.name);
    Some(format!("{what}: most is left on {best}, {short}{others}; ask for less in {FIELD}, free some, or add a node"))
}

impl NodeRoom {
    fn allocatable(&self, name: &str) -> Quantity {
        self.allocatable.get(name).copied().unwrap_or_default()
    }

    fn left(&self, name: &str) -> Quantity {
        self.allocatable(name).minus(self.used.get(name).copied().unwrap_or_default())
    }

    /// How many pods fit that ask for so much.
    fn places(&self, asked: &Amounts) -> usize {
        asked.iter().filter_map(|(name, amount)| self.left(name).holds(*amount)).min().unwrap_or(usize::MAX)
    }

    /// Of what there is too little for one pod more.
    fn short_of<'a>(&self, asked: &'a Amounts) -> Vec<&'a str> {
        let places = self.places(asked);
        let short = asked.iter().filter(|(name, amount)| self.left(name).holds(**amount) == Some(places));
        short.map(|(name, _)| name.as_str()).collect()
    }

    /// How near it comes to having room.
    fn part_left(&self, asked: &Amounts) -> f64 {
        asked.iter().map(|(name, amount)| self.left(name).part_of(*amount)).fold(f64::INFINITY, f64::min)
    }

    fn left_in_words(&self, name: &str) -> String {
        format!("{name} {} of {}", self.left(name).at_most(name), self.allocatable(name).at_most(name))
    }
}

#[cfg(test)]
mod tests;
