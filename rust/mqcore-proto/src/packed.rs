//! Several short frames in one value, as they stand on the wire.
//!
//! A routing id and a few words, a delimiter and an answer, three numbers: such messages need no
//! allocation, and are encoded and decoded by one copy of a fixed length.
//!
//! ```text
//! [1][length][body] [1][length][body] ... [0][length][body] ....... [length of all]
//!  0                                                                 63
//! ```

use crate::frame::INLINE_CAPACITY;
use crate::wire::MORE;

/// So many bytes may the frames take, with their headers.
const ROOM: usize = INLINE_CAPACITY - 1;

/// So many frames fit at most.
pub(crate) const MOST_PARTS: usize = ROOM / 2;

/// Two frames or more. Invariant: what stands before the length in `bytes[ROOM]` are whole frames with
/// short headers, all but the last with the flag MORE.
#[derive(Clone, Copy)]
pub(crate) struct Packed {
    bytes: [u8; INLINE_CAPACITY],
}

impl Packed {
    /// Packs `parts`, if they are two or more and fit.
    #[inline]
    pub(crate) fn new<'a>(mut parts: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let mut packing = Packing::default();
        if parts.all(|part| packing.push(part)) {
            packing.finish()
        } else {
            None
        }
    }

    /// Takes a whole message of several frames off the front of `input`, if it fits and no frame is
    /// longer than `longest`; also says how many bytes it had there.
    #[inline]
    pub(crate) fn parse(input: &[u8], longest: u8) -> Option<(Self, usize)> {
        let mut used = 0;
        let mut more = true;
        let mut count = 0;
        while more {
            let &[flags, length] = input.get(used..)?.first_chunk()?;
            if flags > MORE || length > longest {
                return None;
            }
            more = flags == MORE;
            used += 2 + usize::from(length);
            if used > ROOM {
                return None;
            }
            count += 1;
        }
        if count < 2 {
            return None;
        }
        let mut bytes = match input.first_chunk() {
            Some(chunk) => *chunk,
            None => {
                let mut bytes = [0; INLINE_CAPACITY];
                bytes[..used].copy_from_slice(input.get(..used)?);
                bytes
            }
        };
        bytes[ROOM] = used as u8;
        Some((Self { bytes }, used))
    }

    /// The frames on the wire, with what stands behind them here, and their length.
    #[inline]
    pub(crate) fn wire(&self) -> (&[u8; INLINE_CAPACITY], usize) {
        (&self.bytes, self.len())
    }

    #[inline]
    fn len(&self) -> usize {
        usize::from(self.bytes[ROOM]).min(ROOM)
    }

    /// The bodies, first to last.
    #[inline]
    pub(crate) fn parts(&self) -> PackedParts<'_> {
        PackedParts(&self.bytes[..self.len()])
    }
}

/// Frames on their way into a value.
pub(crate) struct Packing {
    bytes: [u8; INLINE_CAPACITY],
    /// Where the next frame goes. Invariant: at most `ROOM`.
    used: usize,
    /// Where the last frame begins.
    last: usize,
}

impl Default for Packing {
    #[inline]
    fn default() -> Self {
        Self {
            bytes: [0; INLINE_CAPACITY],
            used: 0,
            last: 0,
        }
    }
}

impl Packing {
    /// Adds a frame; false if there is no room for it.
    #[inline]
    pub(crate) fn push(&mut self, part: &[u8]) -> bool {
        let body = self.used + 2;
        let end = body.saturating_add(part.len());
        if end > ROOM {
            return false;
        }
        if self.used > 0 {
            self.bytes[self.last] = MORE;
        }
        self.bytes[self.used + 1] = part.len() as u8;
        self.bytes[body..end].copy_from_slice(part);
        self.last = self.used;
        self.used = end;
        true
    }

    /// What was packed, if that are two frames or more.
    #[inline]
    pub(crate) fn finish(mut self) -> Option<Packed> {
        self.bytes[ROOM] = self.used as u8;
        (self.last > 0).then_some(Packed { bytes: self.bytes })
    }
}

/// See [`Packed::parts`].
#[derive(Clone)]
pub(crate) struct PackedParts<'a>(&'a [u8]);

impl<'a> Iterator for PackedParts<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (&[_, length], rest) = self.0.split_first_chunk()?;
        let (body, rest) = rest.split_at_checked(usize::from(length))?;
        self.0 = rest;
        Some(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_frame_is_not_packed_and_too_many_bytes_are_not() {
        let pack = |parts: &[&[u8]]| Packed::new(parts.iter().copied()).is_some();
        assert!(!pack(&[]) && !pack(&[b"x"]));
        assert!(pack(&[b"", b""]) && pack(&[&[0; 59], b""]));
        assert!(!pack(&[&[0; 60], b""]));
        let empty: [&[u8]; MOST_PARTS + 1] = [b""; MOST_PARTS + 1];
        assert!(pack(&empty[1..]) && !pack(&empty));
    }

    #[test]
    fn what_is_cut_long_or_no_message_is_not_taken() {
        let good = b"\x01\x01a\x00\x02bc";
        let (packed, used) = Packed::parse(good, 255).unwrap();
        assert_eq!(used, good.len());
        assert_eq!(packed.parts().collect::<Vec<_>>(), [&b"a"[..], b"bc"]);
        for cut in 0..good.len() {
            assert!(Packed::parse(&good[..cut], 255).is_none(), "cut at {cut}");
        }
        assert!(Packed::parse(good, 1).is_none(), "a frame is too long");
        assert!(Packed::parse(b"\x00\x01a", 255).is_none(), "one frame");
        assert!(
            Packed::parse(b"\x01\x01a\x04\x01b", 255).is_none(),
            "a command"
        );
        assert!(Packed::parse(b"\x01\x01a\x02\0\0\0\0\0\0\0\x01b", 255).is_none());
    }

    proptest! {
        #[test]
        fn packed_frames_lead_back_and_stand_as_on_the_wire(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 2..8),
            behind in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let slices = || parts.iter().map(|part| &part[..]);
            let size: usize = parts.iter().map(|part| part.len() + 2).sum();
            let packed = Packed::new(slices());
            prop_assert_eq!(packed.is_some(), size <= ROOM);
            if let Some(packed) = packed {
                prop_assert!(packed.parts().eq(slices()));
                let (bytes, used) = packed.wire();
                let input = [&bytes[..used], &behind].concat();
                let (again, taken) = Packed::parse(&input, 255).unwrap();
                prop_assert_eq!(taken, size);
                prop_assert!(again.parts().eq(slices()));
            }
        }
    }
}
