//! One machine as a platform: two supervised node processes behind the gateway.
//!
//! | file | holds |
//! |---|---|
//! | `folder.rs` | the deployment's folder: lock, durable state, secrets |
//! | `process.rs` | a process that is known by more than its pid |
//! | `launch.rs` | program, flags and environment of a node |
//! | `capacity.rs` | is there room for a second environment? |
//! | `supervisor.rs` | two processes, kept as wanted; found again after this program died |
//! | `platform.rs` | the `Platform`: supervisor and gateway as the engine sees them |
//! | `control.rs` | the control protocol |
//! | `up.rs`, `down.rs` | a whole deployment, and its end |

pub mod capacity;
mod control;
mod down;
pub mod folder;
pub mod launch;
pub mod platform;
pub mod process;
pub mod supervisor;
mod up;

pub use down::{DownError, Downed, down};
pub use folder::{FOLDER_DEFAULT, Folder, FolderError};
pub use platform::LocalPlatform;
pub use supervisor::{Patience, SupervisorError};
pub use up::{NotStable, ShutdownMode, Up, UpError, UpOptions};
