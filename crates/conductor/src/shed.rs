//! Requests move when clients ask elsewhere, not when new ones would: clients keep their connections. Where these end at the
//! nodes, a node that shall not be asked any more is told to shed them; one that does not answer has its process ended, since its
//! clients would wait for it.

use crate::Platform;
use crate::journal::{Journal, Trouble};
use crate::observe::{NODE_TIMEOUT_HURRIED, Sight};
use client::Http;
use rollout::{RoleWanted, World};
use wire::{ByColour, Colour};

/// How long a node may not have answered before its process is ended.
const SILENT_MS: u64 = 2_000;

/// Tells each node whether to keep its clients. True when a node was told something new.
pub(crate) async fn shed<P: Platform>(
    platform: &P,
    world: &World,
    sight: &mut Sight,
    http: &Http,
    journal: &mut Journal,
) -> bool {
    if !platform.clients_reach_nodes() {
        return false;
    }
    let mut told = false;
    for member in sight.all().collect::<Vec<_>>() {
        let (Some(target), Some(seen)) = (sight.target_of(member).cloned(), sight.seen(member)) else {
            // It is gone, and what was wrong with it is nobody's trouble any more.
            journal.forget(Trouble::Shed(member));
            continue;
        };
        let node = match seen.state() {
            Some(state) => Node::Answers { sheds: state.sheds },
            None => Node::Silent { heard: seen.was_heard(), silent_ms: seen.silent_ms() },
        };
        match due(world, sight.reads_in_effect, member.colour, node) {
            Due::Nothing => journal.forget(Trouble::Shed(member)),
            Due::Tell(shed) => {
                let answer = target.admin(http, NODE_TIMEOUT_HURRIED).shed(shed).await;
                let answer = answer.map_err(|error| format!("{member} did not send its clients elsewhere: {error}"));
                if let Some(state) = journal.note(Trouble::Shed(member), answer) {
                    sight.saw(member, state);
                    told = true;
                }
            }
            Due::End => {
                let ended = platform.end_process(member).await;
                journal.note(Trouble::Shed(member), ended);
            }
        }
    }
    told
}

/// What a node was last seen to do.
#[derive(Clone, Copy)]
enum Node {
    Answers {
        sheds: bool,
    },
    /// `heard`: it answered before, since it was started.
    Silent {
        heard: bool,
        silent_ms: u64,
    },
}

#[derive(Debug, PartialEq)]
enum Due {
    Nothing,
    Tell(bool),
    End,
}

/// What is due to a node of `colour`, where the router is seen to give these shares.
fn due(world: &World, reads_in_effect: Option<ByColour<u8>>, colour: Colour, node: Node) -> Due {
    let asked = *world.reads.get(colour) > 0;
    // Before the router leads elsewhere, clients would only come back.
    let elsewhere = reads_in_effect.is_some_and(|reads| *reads.get(colour) == 0);
    match node {
        Node::Answers { sheds: true } if asked => Due::Tell(false),
        Node::Answers { sheds: false } if !asked && elsewhere => Due::Tell(true),
        // One that was never heard has no clients, and one that may write is a matter of the handover.
        Node::Silent { heard: true, silent_ms }
            if !asked && elsewhere && follows(world, colour) && silent_ms >= SILENT_MS =>
        {
            Due::End
        }
        _ => Due::Nothing,
    }
}

fn follows(world: &World, colour: Colour) -> bool {
    let role = &world.environments.get(colour).role;
    world.writes != colour && matches!(role, None | Some(RoleWanted::Follower { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollout::State;
    use wire::admin::AcknowledgeMode;
    use wire::document::BlueGreen;

    const KEEPS: Node = Node::Answers { sheds: false };
    const SHEDS: Node = Node::Answers { sheds: true };
    const GONE: Node = Node::Silent { heard: true, silent_ms: SILENT_MS };

    /// Blue follows green, and shall get these reads.
    fn world(blue_percent: u8) -> World {
        let mut world = World::of(&State::first(&BlueGreen::named("test").spec, 0));
        (world.reads, world.writes) = (shares(blue_percent), Colour::Green);
        world.environments.blue.role = Some(RoleWanted::Follower { epoch: 2 });
        world
    }

    fn shares(blue_percent: u8) -> ByColour<u8> {
        ByColour::new(blue_percent, 100 - blue_percent)
    }

    #[test]
    fn a_side_without_reads_sheds_its_clients_once_the_router_leads_elsewhere() {
        let of_blue = |in_effect, node| due(&world(0), in_effect, Colour::Blue, node);
        assert_eq!(of_blue(Some(shares(0)), KEEPS), Due::Tell(true));
        assert_eq!(of_blue(Some(shares(0)), SHEDS), Due::Nothing, "it was told before");
        assert_eq!(of_blue(Some(shares(1)), KEEPS), Due::Nothing, "clients would come back");
        assert_eq!(of_blue(None, KEEPS), Due::Nothing, "nobody knows where the router leads");
    }

    #[test]
    fn a_side_that_shall_be_asked_keeps_its_clients_whatever_the_router_does_yet() {
        for in_effect in [None, Some(shares(0)), Some(shares(1)), Some(shares(100))] {
            let of_blue = |node| due(&world(1), in_effect, Colour::Blue, node);
            assert_eq!(of_blue(SHEDS), Due::Tell(false), "{in_effect:?}");
            assert_eq!(of_blue(KEEPS), Due::Nothing, "{in_effect:?}");
            assert_eq!(of_blue(GONE), Due::Nothing, "{in_effect:?}");
        }
    }

    /// As the old one is while the last step is judged.
    #[test]
    fn a_primary_without_reads_sheds_its_clients_too() {
        let mut world = world(0);
        world.writes = Colour::Blue;
        assert_eq!(due(&world, Some(shares(0)), Colour::Blue, KEEPS), Due::Tell(true));
    }

    #[test]
    fn only_a_follower_that_was_heard_and_fell_silent_has_its_process_ended() {
        let elsewhere = Some(shares(0));
        let of_blue = |in_effect, node| due(&world(0), in_effect, Colour::Blue, node);
        assert_eq!(of_blue(elsewhere, GONE), Due::End);
        assert_eq!(of_blue(elsewhere, Node::Silent { heard: true, silent_ms: SILENT_MS - 1 }), Due::Nothing);
        assert_eq!(of_blue(elsewhere, Node::Silent { heard: false, silent_ms: SILENT_MS }), Due::Nothing);
        assert_eq!(of_blue(Some(shares(1)), GONE), Due::Nothing);
        assert_eq!(of_blue(None, GONE), Due::Nothing);

        let wanted = |writes, role| {
            let mut world = world(0);
            (world.writes, world.environments.blue.role) = (writes, role);
            due(&world, elsewhere, Colour::Blue, GONE)
        };
        let acknowledge = AcknowledgeMode::Alone;
        let primary = RoleWanted::Primary { epoch: 2, promote_at: None, acknowledge, number: 0 };
        assert_eq!(wanted(Colour::Green, None), Due::End, "nothing is wanted of it");
        assert_eq!(wanted(Colour::Green, Some(primary)), Due::Nothing, "it is to be promoted");
        assert_eq!(wanted(Colour::Green, Some(RoleWanted::Sealed { epoch: 2 })), Due::Nothing, "it holds writes");
        assert_eq!(wanted(Colour::Blue, Some(RoleWanted::Follower { epoch: 2 })), Due::Nothing, "writes go there");
    }
}
