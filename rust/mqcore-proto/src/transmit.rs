//! What waits to be written to the peer.
//!
//! Short payloads are copied behind one another, so that many messages leave in one piece; long
//! ones are only referenced and leave by vectored writes.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

use crate::wire::{HEADER_MAX, Header};
use crate::{Frame, INLINE_CAPACITY, Message};

/// Payloads from this length on are referenced instead of copied.
const REFERENCED: usize = 16 * 1024;

/// How large a piece of copied bytes grows before another one is begun.
const PIECE_MAX: usize = 64 * 1024;

/// What a piece of copied bytes begins with, at least.
const PIECE_MIN: usize = 256;

/// The largest buffer that is kept when nothing waits.
const KEPT_WHEN_EMPTY: usize = 512;

/// Outgoing bytes, in order. Owns at most [`KEPT_WHEN_EMPTY`] bytes when nothing waits.
#[derive(Debug, Default)]
pub(crate) struct Transmit {
    /// Complete pieces before `tail`. Invariant: none is empty.
    pieces: VecDeque<Piece>,
    /// The piece that still grows.
    tail: Vec<u8>,
    /// How much of the first piece (or of `tail`) has left. Invariant: less than its length, or 0.
    left: usize,
    /// All bytes ever queued; `queued - sent` wait.
    queued: u64,
    /// All bytes ever sent. Invariant: `sent <= queued`.
    sent: u64,
    /// How full the last piece became: what the next one begins with.
    usual: usize,
}

#[derive(Debug)]
enum Piece {
    Copied(Vec<u8>),
    Referenced(Bytes),
}

impl Piece {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Referenced(bytes) => bytes,
        }
    }
}

impl Transmit {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        (self.queued - self.sent) as usize
    }

    /// The position behind the last byte queued, counted from the connection's beginning.
    pub(crate) fn queued(&self) -> u64 {
        self.queued
    }

    /// The position behind the last byte sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Queues a frame that is a whole message and short enough to be kept inside the frame.
    #[inline]
    pub(crate) fn push_inline(&mut self, bytes: &[u8; INLINE_CAPACITY], length: usize) {
        self.reserve(2).extend_from_slice(&[0, length as u8]);
        self.queued += 2;
        self.push_packed(bytes, length);
    }

    /// Queues the first `length` of `bytes` as they are.
    #[inline]
    pub(crate) fn push_packed(&mut self, bytes: &[u8; INLINE_CAPACITY], length: usize) {
        // All of it, in a few instructions; then what stands behind is cut off.
        let tail = self.reserve(INLINE_CAPACITY);
        tail.extend_from_slice(bytes);
        tail.truncate(tail.len() - (INLINE_CAPACITY - length));
        self.queued += length as u64;
    }

    /// Queues all frames of `message`.
    #[inline]
    pub(crate) fn push_message(&mut self, message: Message) {
        match message.into_single() {
            Ok(frame) => self.push_frame(false, frame),
            Err(message) => {
                let mut frames = message.into_frames().into_iter();
                while let Some(frame) = frames.next() {
                    self.push_frame(frames.len() > 0, frame);
                }
            }
        }
    }

    /// Queues one frame of a message.
    #[inline]
    pub(crate) fn push_frame(&mut self, more: bool, payload: Frame) {
        self.push_headed(more, false, &[], payload);
    }

    /// Queues a command.
    pub(crate) fn push_command(&mut self, name: &str, data: Frame) {
        let mut start = [0; 16];
        start[0] = name.len() as u8;
        start[1..=name.len()].copy_from_slice(name.as_bytes());
        self.push_headed(false, true, &start[..=name.len()], data);
    }

    /// Queues a frame whose body is `start` and `rest`.
    #[inline]
    fn push_headed(&mut self, more: bool, command: bool, start: &[u8], rest: Frame) {
        let header = Header {
            more,
            command,
            length: start.len() + rest.len(),
        };
        let copied = if rest.len() < REFERENCED {
            rest.len()
        } else {
            0
        };
        let tail = self.reserve(HEADER_MAX + start.len() + copied);
        let before = tail.len();
        header.put(tail);
        tail.extend_from_slice(start);
        if copied == rest.len() {
            tail.extend_from_slice(&rest);
        }
        self.queued += (self.tail.len() - before) as u64;
        if copied != rest.len() {
            self.push_referenced(rest.into_bytes());
        }
    }

    /// Queues bytes as they are.
    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len()).extend_from_slice(bytes);
        self.queued += bytes.len() as u64;
    }

    /// Queues a payload as it is.
    pub(crate) fn push_payload(&mut self, payload: Frame) {
        if payload.len() < REFERENCED {
            self.push_bytes(&payload);
        } else {
            self.push_referenced(payload.into_bytes());
        }
    }

    /// Fills `slices` with what waits, from the front; returns how many were filled.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pieces = self.pieces.iter().map(Piece::as_slice);
        let tail = (!self.tail.is_empty()).then_some(&self.tail[..]);
        let mut skip = self.left;
        let mut count = 0;
        for (slot, piece) in slices.iter_mut().zip(pieces.chain(tail)) {
            *slot = IoSlice::new(&piece[skip..]);
            skip = 0;
            count += 1;
        }
        count
    }

    /// Drops `count` bytes from the front: they were written.
    ///
    /// # Panics
    /// If fewer wait.
    pub(crate) fn advance(&mut self, count: usize) {
        assert!(
            count <= self.len(),
            "{count} bytes reported as written, but only {} waited",
            self.len()
        );
        self.sent += count as u64;
        self.left += count;
        while let Some(piece) = self.pieces.front() {
            let length = piece.as_slice().len();
            if self.left < length {
                return;
            }
            self.left -= length;
            self.pieces.pop_front();
        }
        if self.left == self.tail.len() {
            self.left = 0;
            self.empty();
        }
    }

    /// Bytes of memory held, whether waiting or not.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn memory(&self) -> usize {
        let pieces: usize = self.pieces.iter().map(|piece| piece.as_slice().len()).sum();
        pieces + self.tail.capacity() + self.pieces.capacity() * size_of::<Piece>()
    }

    fn push_referenced(&mut self, bytes: Bytes) {
        self.finish_tail();
        self.queued += bytes.len() as u64;
        self.pieces.push_back(Piece::Referenced(bytes));
    }

    /// The tail, with room for `additional` bytes.
    #[inline]
    fn reserve(&mut self, additional: usize) -> &mut Vec<u8> {
        if self.tail.capacity() - self.tail.len() < additional {
            self.grow(additional);
        }
        &mut self.tail
    }

    #[cold]
    fn grow(&mut self, additional: usize) {
        if self.tail.len() + additional > PIECE_MAX {
            self.finish_tail();
        }
        let length = self.tail.len();
        let wanted = if length == 0 {
            self.usual.next_power_of_two().max(PIECE_MIN)
        } else {
            (self.tail.capacity() * 2).min(PIECE_MAX)
        };
        self.tail
            .reserve_exact(wanted.max(length + additional) - length);
    }

    /// Makes the tail a complete piece.
    fn finish_tail(&mut self) {
        if !self.tail.is_empty() {
            self.usual = self.tail.len().min(PIECE_MAX);
            self.pieces
                .push_back(Piece::Copied(std::mem::take(&mut self.tail)));
        }
    }

    /// Gives memory back when nothing waits. A stream of messages then allocates one piece of the
    /// right size for each batch, and an idle connection holds next to nothing.
    fn empty(&mut self) {
        self.usual = self.tail.len().min(PIECE_MAX);
        if self.tail.capacity() > KEPT_WHEN_EMPTY {
            self.tail = Vec::new();
        } else {
            self.tail.clear();
        }
        if self.pieces.capacity() > 0 {
            self.pieces = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(transmit: &Transmit) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let count = transmit.slices(&mut slices);
        slices[..count]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect()
    }

    #[test]
    fn short_messages_leave_in_one_piece() {
        let mut transmit = Transmit::default();
        transmit.push_message(Message::from("a"));
        transmit.push_message(Message::from_frames(vec!["b".into(), "".into()]));
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!(transmit.slices(&mut slices), 1);
        assert_eq!(&*slices[0], b"\0\x01a\x01\x01b\0\0");
        assert_eq!(transmit.len(), 8);
    }

    #[test]
    fn long_payload_is_referenced_between_its_neighbours() {
        let payload = Bytes::from(vec![7; REFERENCED]);
        let mut transmit = Transmit::default();
        transmit.push_message(Message::from("a"));
        transmit.push_message(Frame::from(payload.clone()).into());
        transmit.push_message(Message::from("z"));
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!(transmit.slices(&mut slices), 3);
        assert_eq!(&*slices[0], b"\0\x01a\x02\0\0\0\0\0\0\x40\0");
        assert_eq!(slices[1].as_ptr(), payload.as_ptr());
        assert_eq!(&*slices[2], b"\0\x01z");
    }

    #[test]
    fn bytes_leave_in_order_however_many_at_a_time() {
        let mut all = Transmit::default();
        let fill = |transmit: &mut Transmit| {
            for (index, length) in [0, 1, 255, 256, 16_384, 3, 70_000].into_iter().enumerate() {
                transmit.push_message(Message::from(&vec![index as u8; length][..]));
            }
        };
        fill(&mut all);
        let expected = waiting(&all);
        assert_eq!(expected.len(), all.len());
        for step in [7, 4096, 16_384, 100_000] {
            let mut transmit = Transmit::default();
            fill(&mut transmit);
            let mut got: Vec<u8> = Vec::new();
            while transmit.len() > 0 {
                let mut slices = [IoSlice::new(&[]); 2];
                let count = transmit.slices(&mut slices);
                let offered = slices[..count].iter().flat_map(|slice| slice.iter());
                let before = got.len();
                got.extend(offered.take(step));
                transmit.advance(got.len() - before);
                assert_eq!(transmit.len() + got.len(), expected.len());
            }
            assert!(got == expected, "step {step}");
            assert_eq!(waiting(&transmit), b"");
        }
    }

    #[test]
    fn memory_goes_back_when_everything_has_left() {
        let mut transmit = Transmit::default();
        for _ in 0..10_000 {
            transmit.push_message(Message::from(&[1; 200]));
        }
        transmit.push_message(Frame::from(vec![0; 1 << 20]).into());
        transmit.advance(transmit.len());
        assert!(transmit.memory() <= KEPT_WHEN_EMPTY);
    }

    #[test]
    fn few_slices_give_the_front() {
        let mut transmit = Transmit::default();
        transmit.push_payload(Frame::from(vec![1; REFERENCED]));
        transmit.push_bytes(b"tail");
        let mut slices = [IoSlice::new(&[]); 1];
        assert_eq!(transmit.slices(&mut slices), 1);
        assert_eq!(slices[0].len(), REFERENCED);
    }

    #[test]
    #[should_panic(expected = "only 2 waited")]
    fn writing_more_than_waited_is_a_mistake_of_the_caller() {
        let mut transmit = Transmit::default();
        transmit.push_bytes(b"ab");
        transmit.advance(3);
    }
}
