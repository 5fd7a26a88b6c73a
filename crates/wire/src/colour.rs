//! The two environments.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One of the two environments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    Blue,
    Green,
}

impl Colour {
    /// Both, blue first.
    pub const BOTH: [Colour; 2] = [Colour::Blue, Colour::Green];

    /// The opposite environment.
    pub fn other(self) -> Colour {
        match self {
            Colour::Blue => Colour::Green,
            Colour::Green => Colour::Blue,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Colour::Blue => "blue",
            Colour::Green => "green",
        }
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text was neither `blue` nor `green`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an environment: it must be `blue` or `green`")]
pub struct NotAColour(pub String);

impl FromStr for Colour {
    type Err = NotAColour;

    fn from_str(text: &str) -> Result<Self, NotAColour> {
        match text {
            "blue" => Ok(Colour::Blue),
            "green" => Ok(Colour::Green),
            other => Err(NotAColour(other.to_string())),
        }
    }
}

/// One value for each environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ByColour<T> {
    pub blue: T,
    pub green: T,
}

impl<T> ByColour<T> {
    pub fn new(blue: T, green: T) -> Self {
        Self { blue, green }
    }

    /// Builds both values by asking for each colour in turn, blue first.
    pub fn from_fn(mut make: impl FnMut(Colour) -> T) -> Self {
        Self { blue: make(Colour::Blue), green: make(Colour::Green) }
    }

    pub fn get(&self, colour: Colour) -> &T {
        match colour {
            Colour::Blue => &self.blue,
            Colour::Green => &self.green,
        }
    }

    pub fn get_mut(&mut self, colour: Colour) -> &mut T {
        match colour {
            Colour::Blue => &mut self.blue,
            Colour::Green => &mut self.green,
        }
    }

    pub fn map<U>(self, mut change: impl FnMut(Colour, T) -> U) -> ByColour<U> {
        ByColour { blue: change(Colour::Blue, self.blue), green: change(Colour::Green, self.green) }
    }

    pub fn iter(&self) -> impl Iterator<Item = (Colour, &T)> {
        [(Colour::Blue, &self.blue), (Colour::Green, &self.green)].into_iter()
    }
}
