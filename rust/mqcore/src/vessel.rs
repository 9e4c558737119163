//! Memory of somebody else's for a payload that is yet to come: what the caller makes of it then needs no copy.

use std::io;
use std::mem::MaybeUninit;

use mqcore_proto::Frame;

/// Reads into the beginning of a piece of memory, and gives that back.
pub type ReadInto<'r> =
    dyn for<'m> FnMut(&'m mut [MaybeUninit<u8>]) -> io::Result<&'m mut [u8]> + 'r;

/// Memory for one payload, whose length is known before.
pub trait Vessel: Send {
    /// The length of the payload.
    fn capacity(&self) -> usize;

    /// How much of it is there.
    fn filled(&self) -> usize;

    /// Has `read` read into the rest; how many bytes came.
    ///
    /// # Errors
    /// Those of `read`.
    fn fill(&mut self, read: &mut ReadInto<'_>) -> io::Result<usize>;

    /// The payload, if all of it is there.
    fn into_frame(self: Box<Self>) -> Option<Frame>;
}
