//! One frame: the payload bytes of one message part.
//!
//! Short payloads live inside the value, so that a small message costs no allocation on its way;
//! longer ones share a reference-counted buffer. A frame never changes after it is made.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// The longest payload in bytes that is kept inside the frame itself.
pub const INLINE_CAPACITY: usize = 64;

/// An immutable payload. Cloning copies at most [`INLINE_CAPACITY`] bytes.
#[derive(Clone)]
pub struct Frame(Repr);

#[derive(Clone)]
enum Repr {
    /// Invariant: `len <= INLINE_CAPACITY`; bytes past `len` mean nothing.
    Inline {
        len: u8,
        bytes: [u8; INLINE_CAPACITY],
    },
    Shared(Bytes),
}

impl Frame {
    /// A frame without payload.
    pub const fn empty() -> Self {
        Self(Repr::Inline {
            len: 0,
            bytes: [0; INLINE_CAPACITY],
        })
    }

    /// Copies `payload` into a new frame.
    #[inline]
    pub fn copy_from_slice(payload: &[u8]) -> Self {
        if payload.len() <= INLINE_CAPACITY {
            let mut bytes = [0; INLINE_CAPACITY];
            bytes[..payload.len()].copy_from_slice(payload);
            Self(Repr::Inline {
                len: payload.len() as u8,
                bytes,
            })
        } else {
            Self(Repr::Shared(Bytes::copy_from_slice(payload)))
        }
    }

    /// Copies the first `len` bytes of `bytes` into a new frame, if they are few enough to be
    /// kept inside it: with a fixed length that is a handful of instructions.
    #[inline]
    pub(crate) fn copy_from_array(bytes: &[u8; INLINE_CAPACITY], len: u8) -> Option<Self> {
        (usize::from(len) <= INLINE_CAPACITY).then_some(Self(Repr::Inline { len, bytes: *bytes }))
    }

    /// Wraps `payload` without copying it, however short it is: for buffers whose owner must be
    /// told when the last reference goes.
    pub const fn from_shared(payload: Bytes) -> Self {
        Self(Repr::Shared(payload))
    }

    /// The payload.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Shared(bytes) => bytes,
        }
    }

    /// The payload as a shared buffer, if it is one; short payloads are kept in the frame.
    #[inline]
    pub fn shared(&self) -> Option<&Bytes> {
        match &self.0 {
            Repr::Inline { .. } => None,
            Repr::Shared(bytes) => Some(bytes),
        }
    }

    /// The payload as a shared buffer; a short one is copied into a new buffer.
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Repr::Inline { len, bytes } => Bytes::copy_from_slice(&bytes[..usize::from(len)]),
            Repr::Shared(bytes) => bytes,
        }
    }
}

impl From<Bytes> for Frame {
    fn from(payload: Bytes) -> Self {
        if payload.len() <= INLINE_CAPACITY {
            Self::copy_from_slice(&payload)
        } else {
            Self(Repr::Shared(payload))
        }
    }
}

impl From<Vec<u8>> for Frame {
    fn from(payload: Vec<u8>) -> Self {
        if payload.len() <= INLINE_CAPACITY {
            Self::copy_from_slice(&payload)
        } else {
            Self(Repr::Shared(Bytes::from(payload)))
        }
    }
}

impl From<&[u8]> for Frame {
    fn from(payload: &[u8]) -> Self {
        Self::copy_from_slice(payload)
    }
}

impl From<&str> for Frame {
    fn from(payload: &str) -> Self {
        Self::copy_from_slice(payload.as_bytes())
    }
}

impl<const N: usize> From<&[u8; N]> for Frame {
    fn from(payload: &[u8; N]) -> Self {
        Self::copy_from_slice(payload)
    }
}

impl Deref for Frame {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Default for Frame {
    fn default() -> Self {
        Self::empty()
    }
}

impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Frame {}

impl std::hash::Hash for Frame {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl std::borrow::Borrow<[u8]> for Frame {
    fn borrow(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 16;
        let payload = self.as_slice();
        let head = &payload[..payload.len().min(SHOWN)];
        write!(f, "Frame(\"{}\"", head.escape_ascii())?;
        if payload.len() > SHOWN {
            write!(f, "... {} bytes", payload.len())?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_payload_lives_in_the_frame_and_long_one_is_shared() {
        assert!(Frame::from(&[7; 64][..]).shared().is_none());
        assert!(Frame::from(&[7; 65][..]).shared().is_some());
        assert_eq!(Frame::from(vec![7; 65]), Frame::copy_from_slice(&[7; 65]));
    }

    #[test]
    fn frame_stays_small_enough_for_a_ring_slot() {
        assert_eq!(size_of::<Frame>(), 72);
    }
}
