//! One node of an environment that has several.

use crate::Colour;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A node by its environment and its number there, from 0. Its name is that of its environment, with the number behind it
/// from 1 on: an environment of one node is called as it always was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    pub colour: Colour,
    pub number: u8,
}

impl Member {
    pub fn new(colour: Colour, number: u8) -> Self {
        Self { colour, number }
    }
}

impl From<Colour> for Member {
    /// The first node of the environment.
    fn from(colour: Colour) -> Self {
        Self { colour, number: 0 }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            0 => self.colour.fmt(f),
            number => write!(f, "{}-{number}", self.colour),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_node_bears_the_name_of_its_environment() {
        let names: Vec<_> = (0..3).map(|number| Member::new(Colour::Blue, number).to_string()).collect();
        assert_eq!(names, ["blue", "blue-1", "blue-2"]);
        assert_eq!(Member::from(Colour::Green).to_string(), "green");
    }
}
