//! ZMTP as a value: what a ZeroMQ peer says and hears, without sockets, clocks or threads.
//!
//! [`Connection`] is one peer. Bytes from the stream go in, [`Event`]s come out; [`Message`]s go
//! in, bytes for the stream come out; time is an argument.
#![forbid(unsafe_code)]

mod assembly;
mod command;
mod config;
mod connection;
mod decoder;
mod error;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod greeting;
mod heartbeat;
mod mechanism;
mod message;
mod metadata;
mod opening;
mod packed;
mod raw;
mod run;
mod socket_type;
#[cfg(any(test, feature = "fuzzing"))]
mod testing;
mod traffic;
mod transmit;
mod wire;

pub use assembly::Limits;
pub use config::Config;
pub use connection::{Connection, Event, PeerInfo};
pub use error::{ErrorKind, ProtocolError};
pub use frame::{Frame, INLINE_CAPACITY, Owner};
pub use heartbeat::Heartbeat;
pub use mechanism::MechanismConfig;
pub use message::{Message, Parts, ShortMessage};
pub use run::{Run, RunBuilder};
pub use socket_type::SocketType;
