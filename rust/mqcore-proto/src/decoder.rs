//! Frames out of bytes that come cut anywhere.
//!
//! ```text
//! Header ──whole header──▶ Judging ──checked──▶ Body ──last byte──▶ a frame, and Header again
//! ```
//!
//! A header is checked before any memory is set aside for its body. What is used of it grows only with
//! the bytes that really come, what is set aside to some times as much, or to what a frame of this peer
//! really had before.
//!
//! Long frames often follow one another. A caller that reads so much as the next one would take, if it
//! is as long as the last ([`Decoder::expected`]), into memory of its own, and gives that away
//! ([`Decoder::adopt`]), saves a copy: the body stays where it was read to. One that reads a header alone, and
//! then the body ([`Decoder::begun_body`]), can choose the memory for it, and gives the whole of it
//! ([`Decoder::place_body`]).

use bytes::{Buf, Bytes};

use crate::Frame;
use crate::error::ProtocolError;
use crate::wire::{HEADER_MAX, Header, LONG};

/// What a long body gets at first; it grows while it fills.
const BODY_FIRST: usize = 256 * 1024;

/// So many times as long a body becomes when it is full. A message of 1 GiB took 1.6 times as long with 2.
const STRIDE: usize = 16;

/// From so many missing bytes on a caller may read straight into the body.
const DIRECT: usize = 8 * 1024;

/// A frame from this length on is expected to be followed by another one as long.
const REPEATED: usize = 32 * 1024;

/// One connection's frames while they arrive. Owns nothing between two frames.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    stage: Stage,
    /// What a caller gave beyond a frame's end: it is the first further input.
    surplus: Bytes,
    /// The length of the last frame, if it came in pieces and was long; else 0.
    last: usize,
    /// The length of the longest body that came whole: so much may be set aside at once.
    longest: usize,
}

#[derive(Debug)]
enum Stage {
    /// Invariant: `length < HEADER_MAX`, and `bytes[..length]` is no whole header.
    Header {
        bytes: [u8; HEADER_MAX],
        length: usize,
    },
    /// The header is whole, but the first byte of its body is needed to judge it.
    Judging(Header),
    /// Bytes that a caller gave away, from the beginning of a frame on.
    Adopted(Vec<u8>),
    /// A body that a caller has read by itself.
    Placed(Header, Frame),
    /// Invariant: `bytes.len() < start + header.length`, except after a caller filled the body buffer.
    Body {
        header: Header,
        bytes: Vec<u8>,
        /// Where in `bytes` the body begins: behind its header, if that was adopted with it.
        start: usize,
        /// The length of `bytes` when it was last looked at.
        seen: usize,
    },
}

impl Default for Stage {
    fn default() -> Self {
        Self::Header {
            bytes: [0; HEADER_MAX],
            length: 0,
        }
    }
}

/// What a check says about a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// The body may come.
    Accept,
    /// It depends on the first byte of the body: ask again with it.
    NeedsFirstByte,
}

impl Decoder {
    /// Whether the next input byte begins a frame.
    #[inline]
    pub(crate) fn is_between_frames(&self) -> bool {
        matches!(self.stage, Stage::Header { length: 0, .. }) && self.surplus.is_empty()
    }

    /// Takes bytes off `input` until a frame is whole or the input is empty.
    ///
    /// `judge` is asked about each header, with the first byte of the body if it wants that.
    #[inline]
    pub(crate) fn receive(
        &mut self,
        input: &mut &[u8],
        judge: impl Fn(Header, Option<u8>) -> Result<Judgement, ProtocolError>,
    ) -> Result<Option<(Header, Frame)>, ProtocolError> {
        if let Stage::Header { length: 0, .. } = self.stage
            && let Some((header, size)) = Header::parse(input)?
            && let Some(rest) = input.get(size..)
            && let Some((body, rest)) = rest.split_at_checked(header.length)
        {
            // The common case: the whole frame is there.
            if judge(header, body.first().copied())? == Judgement::Accept {
                *input = rest;
                return Ok(Some((header, Frame::copy_from_slice(body))));
            }
        }
        self.receive_cut(input, judge)
    }

    /// The general case: any part of the frame may be missing.
    fn receive_cut(
        &mut self,
        input: &mut &[u8],
        judge: impl Fn(Header, Option<u8>) -> Result<Judgement, ProtocolError>,
    ) -> Result<Option<(Header, Frame)>, ProtocolError> {
        loop {
            match &mut self.stage {
                Stage::Header { bytes, length } => {
                    let Some((&byte, rest)) = input.split_first() else {
                        return Ok(None);
                    };
                    bytes[*length] = byte;
                    *length += 1;
                    *input = rest;
                    if let Some((header, _)) = Header::parse(&bytes[..*length])? {
                        self.stage = match judge(header, None)? {
                            Judgement::Accept => Self::await_body(header),
                            Judgement::NeedsFirstByte => Stage::Judging(header),
                        };
                    }
                }
                Stage::Judging(header) => {
                    let Some(&first) = input.first() else {
                        return Ok(None);
                    };
                    let header = *header;
                    judge(header, Some(first))?;
                    self.stage = Self::await_body(header);
                }
                Stage::Adopted(bytes) => {
                    let bytes = std::mem::take(bytes);
                    self.stage = Stage::default();
                    let whole = Header::parse(&bytes)?;
                    let Some((header, start)) = whole.filter(|(header, start)| {
                        // One that ends in between, or is short, is decoded like any other input.
                        header.length >= REPEATED && header.length >= bytes.len() - start
                    }) else {
                        self.last = 0;
                        self.surplus = bytes.into();
                        return Ok(None);
                    };
                    if judge(header, bytes.get(start).copied())? == Judgement::NeedsFirstByte {
                        self.surplus = bytes.into();
                        return Ok(None);
                    }
                    self.stage = Stage::Body {
                        header,
                        seen: bytes.len(),
                        bytes,
                        start,
                    };
                }
                Stage::Placed(header, frame) => {
                    let whole = (*header, std::mem::take(frame));
                    self.count(whole.0.length);
                    self.stage = Stage::default();
                    return Ok(Some(whole));
                }
                Stage::Body {
                    header,
                    bytes,
                    start,
                    seen,
                } => {
                    let end = start.saturating_add(header.length);
                    let missing = end.saturating_sub(bytes.len());
                    let (now, rest) = input.split_at(missing.min(input.len()));
                    grow(bytes, now.len(), end, self.longest);
                    bytes.extend_from_slice(now);
                    *seen = bytes.len();
                    *input = rest;
                    if bytes.len() < end {
                        return Ok(None);
                    }
                    self.surplus = bytes.split_off(end).into();
                    let mut payload = Bytes::from(std::mem::take(bytes));
                    payload.advance(*start);
                    let header = *header;
                    self.count(header.length);
                    self.stage = Stage::default();
                    return Ok(Some((header, payload.into())));
                }
            }
        }
    }

    /// A body that came in pieces is whole.
    fn count(&mut self, length: usize) {
        self.last = if length >= REPEATED { length } else { 0 };
        self.longest = self.longest.max(length);
    }

    fn await_body(header: Header) -> Stage {
        Stage::Body {
            header,
            bytes: Vec::new(),
            start: 0,
            seen: 0,
        }
    }

    /// At most so many bytes belong to the header that comes next, or has begun to; 0 inside a body.
    pub(crate) fn header_room(&self) -> usize {
        match &self.stage {
            Stage::Header { .. } if !self.surplus.is_empty() => 0,
            Stage::Header { length: 0, .. } => HEADER_MAX,
            Stage::Header { bytes, length } if bytes[0] & LONG != 0 => HEADER_MAX - length,
            Stage::Header { .. } => 1,
            _ => 0,
        }
    }

    /// The length of a body that has been accepted, and of which nothing has come; if it is long.
    pub(crate) fn begun_body(&self) -> Option<usize> {
        match &self.stage {
            Stage::Body {
                header,
                bytes,
                start: 0,
                ..
            } if bytes.is_empty() && header.length >= DIRECT => Some(header.length),
            _ => None,
        }
    }

    /// Takes that body.
    ///
    /// # Panics
    /// If none was begun, or `body` has another length.
    pub(crate) fn place_body(&mut self, body: Frame) {
        let Stage::Body { header, .. } = self.stage else {
            panic!("no body was begun");
        };
        assert_eq!(self.begun_body(), Some(body.len()), "another body");
        self.stage = Stage::Placed(header, body);
    }

    /// Whether a body has begun and is not whole.
    pub(crate) fn is_in_body(&self) -> bool {
        matches!(self.stage, Stage::Body { .. } | Stage::Adopted(_))
    }

    /// The unfinished body, with spare capacity for at most what is missing, if that is much.
    pub(crate) fn body_buffer(&mut self) -> Option<&mut Vec<u8>> {
        let Stage::Body {
            header,
            bytes,
            start,
            ..
        } = &mut self.stage
        else {
            return None;
        };
        let end = start.saturating_add(header.length);
        // A body that was begun in its own memory is finished there.
        if end.saturating_sub(bytes.len()) < DIRECT && *start == 0 {
            return None;
        }
        grow(bytes, DIRECT, end, self.longest);
        Some(bytes)
    }

    /// Whether the body grew by its buffer since the last call of [`receive`](Self::receive), or bytes
    /// were adopted.
    pub(crate) fn has_grown(&self) -> bool {
        match &self.stage {
            Stage::Body { bytes, seen, .. } => bytes.len() != *seen,
            Stage::Adopted(_) | Stage::Placed(..) => true,
            Stage::Header { .. } | Stage::Judging(_) => false,
        }
    }

    /// Between two frames: how many bytes the next frame takes with its header, if it is long and as long
    /// as the last one.
    pub(crate) fn expected(&self) -> Option<usize> {
        (self.last > 0 && self.is_between_frames()).then(|| HEADER_MAX + self.last)
    }

    /// Takes bytes that begin where [`expected`](Self::expected) was asked; they are the next input.
    ///
    /// # Panics
    /// Inside a frame.
    pub(crate) fn adopt(&mut self, bytes: Vec<u8>) {
        assert!(self.is_between_frames(), "adopted bytes begin a frame");
        self.stage = Stage::Adopted(bytes);
    }

    /// Whether there is input that the caller gave by the body buffer.
    #[inline]
    pub(crate) fn has_surplus(&self) -> bool {
        !self.surplus.is_empty()
    }

    /// Takes that input; what is not used is to be given back to [`put_surplus`](Self::put_surplus).
    pub(crate) fn take_surplus(&mut self) -> Bytes {
        std::mem::take(&mut self.surplus)
    }

    /// Gives unused surplus back.
    pub(crate) fn put_surplus(&mut self, rest: Bytes) {
        self.surplus = rest;
    }

    /// Bytes of memory held.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn memory(&self) -> usize {
        let body = match &self.stage {
            Stage::Body { bytes, .. } | Stage::Adopted(bytes) => bytes.capacity(),
            Stage::Placed(_, body) => body.len(),
            Stage::Header { .. } | Stage::Judging(_) => 0,
        };
        body + self.surplus.len()
    }
}

/// Makes room in a body that ends at `end` for `incoming` more (or up to its end); for all of it if a body
/// as long as that was whole before.
fn grow(bytes: &mut Vec<u8>, incoming: usize, end: usize, longest: usize) {
    let needed = bytes.len().saturating_add(incoming).min(end);
    if bytes.capacity() >= needed {
        return;
    }
    if end <= longest {
        bytes.reserve_exact(end - bytes.len());
        return;
    }
    // What is not written yet costs addresses only, while growing copies what came: so in few steps, unless the system
    // has no such stretch.
    let next = |factor| {
        let grown = bytes.capacity().saturating_mul(factor);
        grown.max(BODY_FIRST).max(needed).min(end) - bytes.len()
    };
    let (wanted, least) = (next(STRIDE), next(2));
    if bytes.try_reserve_exact(wanted).is_err() {
        bytes.reserve_exact(least);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn accept(_: Header, _: Option<u8>) -> Result<Judgement, ProtocolError> {
        Ok(Judgement::Accept)
    }

    fn encode(length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = Header {
            more: false,
            command: false,
            length,
        };
        header.put(&mut bytes);
        bytes.extend((0..length).map(|index| index as u8));
        bytes
    }

    #[test]
    fn frame_cut_anywhere_comes_out_whole() {
        for length in [0, 1, 64, 65, 255, 256, 300] {
            let bytes = encode(length);
            for cut in 0..=bytes.len() {
                let mut decoder = Decoder::default();
                let mut frames = Vec::new();
                for mut part in [&bytes[..cut], &bytes[cut..], &bytes[..]] {
                    while let Some((_, frame)) = decoder.receive(&mut part, accept).unwrap() {
                        frames.push(frame);
                    }
                    assert!(part.is_empty());
                }
                assert_eq!(frames.len(), 2, "{length} cut at {cut}");
                assert!(
                    frames
                        .iter()
                        .all(|frame| **frame == bytes[bytes.len() - length..])
                );
                assert!(decoder.is_between_frames() && decoder.memory() == 0);
            }
        }
    }

    #[test]
    fn header_alone_takes_no_memory_and_the_body_grows_with_what_comes() {
        let mut decoder = Decoder::default();
        let length: usize = 1 << 40;
        let header = [&[2][..], &(length as u64).to_be_bytes()].concat();
        assert_eq!(decoder.receive(&mut &header[..], accept).unwrap(), None);
        assert_eq!(decoder.memory(), 0);
        let chunk = [0; 10_000];
        for count in 1..300 {
            decoder.receive(&mut &chunk[..], accept).unwrap();
            assert!(decoder.memory() <= BODY_FIRST.max(STRIDE * count * chunk.len()));
        }
    }

    #[test]
    fn body_buffer_has_room_up_to_the_frames_end_and_no_further() {
        let bytes = encode(600_000);
        let mut decoder = Decoder::default();
        let mut input = &bytes[..100];
        decoder.receive(&mut input, accept).unwrap();
        let mut at = 100;
        while let Some(buffer) = decoder.body_buffer() {
            let spare = buffer.capacity() - buffer.len();
            assert!(spare >= DIRECT && buffer.capacity() <= 600_000);
            buffer.extend_from_slice(&bytes[at..at + spare]);
            at += spare;
            assert!(decoder.has_grown());
            let frame = decoder.receive(&mut &[][..], accept).unwrap();
            assert!(!decoder.has_grown());
            if let Some((_, frame)) = frame {
                assert!(*frame == bytes[9..]);
            }
        }
        assert_eq!(at, bytes.len());
        assert!(decoder.is_between_frames());
    }

    /// What a caller does that reads as much as is expected.
    fn read_adopted(decoder: &mut Decoder, bytes: &mut &[u8], most: usize) -> Option<Frame> {
        let total = decoder.expected().expect("a long frame was the last");
        let (now, rest) = bytes.split_at(total.min(most).min(bytes.len()));
        *bytes = rest;
        let mut fresh = Vec::with_capacity(total);
        fresh.extend_from_slice(now);
        decoder.adopt(fresh);
        assert!(decoder.has_grown());
        let frame = decoder.receive(&mut &[][..], accept).unwrap();
        frame.map(|(_, frame)| frame)
    }

    #[test]
    fn long_frame_like_the_last_stays_where_it_was_read_to() {
        let bytes = encode(40_000);
        for cut in [1, 8, 9, 10, 39_999, 40_008, 40_009] {
            let mut decoder = Decoder::default();
            assert_eq!(decoder.expected(), None);
            decoder.receive(&mut &bytes[..10], accept).unwrap();
            decoder.receive(&mut &bytes[10..], accept).unwrap().unwrap();
            let two = [&bytes[..], &bytes[..]].concat();
            let mut rest = &two[..];
            let mut frames = Vec::new();
            frames.extend(read_adopted(&mut decoder, &mut rest, cut));
            if decoder.has_surplus() {
                // A header that was cut comes as any other input.
                let surplus = decoder.take_surplus();
                assert_eq!(decoder.receive(&mut &surplus[..], accept).unwrap(), None);
            }
            while !rest.is_empty() {
                let (now, after) = rest.split_at(rest.len().min(7_000));
                let mut input = match decoder.body_buffer() {
                    Some(body) => {
                        let room = (body.capacity() - body.len()).min(now.len());
                        body.extend_from_slice(&now[..room]);
                        rest = &rest[room..];
                        &[][..]
                    }
                    None => {
                        rest = after;
                        now
                    }
                };
                while let Some((_, frame)) = decoder.receive(&mut input, accept).unwrap() {
                    frames.push(frame);
                }
            }
            assert_eq!(frames.len(), 2, "cut at {cut}");
            assert!(frames.iter().all(|frame| **frame == bytes[9..]));
            assert_eq!(decoder.memory(), 0);
        }
    }

    #[test]
    fn body_whose_header_came_alone_may_be_given_as_a_whole() {
        let mut decoder = Decoder::default();
        let bytes = encode(DIRECT);
        assert_eq!(decoder.begun_body(), None);
        for _ in 0..2 {
            assert_eq!(decoder.receive(&mut &bytes[..9], accept).unwrap(), None);
            assert_eq!(decoder.begun_body(), Some(DIRECT));
            decoder.place_body(bytes[9..].into());
            assert!(decoder.has_grown() && !decoder.is_between_frames());
            assert_eq!((decoder.begun_body(), decoder.memory()), (None, DIRECT));
            let (header, frame) = decoder.receive(&mut &[][..], accept).unwrap().unwrap();
            assert_eq!((header.length, &*frame), (DIRECT, &bytes[9..]));
            assert!(decoder.is_between_frames() && decoder.body_buffer().is_none());
        }
        // One of which a byte came, and a short one, are not.
        for (length, came) in [(DIRECT, 10), (DIRECT - 1, 9)] {
            let mut decoder = Decoder::default();
            decoder
                .receive(&mut &encode(length)[..came], accept)
                .unwrap();
            assert_eq!(decoder.begun_body(), None, "{length} {came}");
        }
    }

    #[test]
    fn header_room_leads_to_the_body_and_no_further() {
        let bytes = [&encode(0)[..], &encode(DIRECT)].concat();
        let mut decoder = Decoder::default();
        let mut at = 0;
        for (room, frame) in [(HEADER_MAX, true), (2, false)] {
            assert_eq!(decoder.header_room(), room);
            let mut input = &bytes[at..at + room];
            at += room;
            let whole = decoder.receive(&mut input, accept).unwrap();
            assert_eq!(whole.is_some(), frame);
            assert_eq!(decoder.receive(&mut input, accept).unwrap(), None);
        }
        assert_eq!(
            (decoder.header_room(), decoder.begun_body()),
            (0, Some(DIRECT))
        );
        let mut decoder = Decoder::default();
        decoder.receive(&mut &[0][..], accept).unwrap();
        assert_eq!(decoder.header_room(), 1);
    }

    #[test]
    #[should_panic(expected = "another body")]
    fn body_of_another_length_is_a_mistake_of_the_caller() {
        let mut decoder = Decoder::default();
        decoder.receive(&mut &encode(DIRECT)[..9], accept).unwrap();
        decoder.place_body(Frame::from(vec![0; DIRECT + 1]));
    }

    #[test]
    fn adopted_bytes_that_are_no_such_frame_are_further_input() {
        let mut decoder = Decoder::default();
        let long = encode(40_000);
        decoder.receive(&mut &long[..10], accept).unwrap();
        decoder.receive(&mut &long[10..], accept).unwrap().unwrap();
        let small = [&encode(3)[..], &encode(5)[..]].concat();
        assert_eq!(read_adopted(&mut decoder, &mut &small[..], 100), None);
        assert_eq!(decoder.take_surplus(), small);
        assert_eq!(decoder.expected(), None, "the peer does something else");
    }

    #[test]
    fn surplus_in_the_body_buffer_is_kept_as_input() {
        let bytes = encode(20_000);
        let mut decoder = Decoder::default();
        decoder.receive(&mut &bytes[..9], accept).unwrap();
        let buffer = decoder.body_buffer().unwrap();
        buffer.extend_from_slice(&bytes[9..]);
        buffer.extend_from_slice(b"\0\x01x");
        let (_, frame) = decoder.receive(&mut &[][..], accept).unwrap().unwrap();
        assert_eq!(frame.len(), 20_000);
        assert!(decoder.has_surplus() && !decoder.is_between_frames());
        assert_eq!(decoder.take_surplus(), &b"\0\x01x"[..]);
    }

    #[test]
    fn first_byte_is_asked_for_before_the_body_is_taken() {
        let judge = |_: Header, first: Option<u8>| match first {
            None => Ok(Judgement::NeedsFirstByte),
            Some(1) => Err(ProtocolError::new(ErrorKind::Oversize, "sent a one")),
            Some(_) => Ok(Judgement::Accept),
        };
        for (first, good) in [(1, false), (2, true)] {
            let mut decoder = Decoder::default();
            assert!(decoder.receive(&mut &[0, 3][..], judge).unwrap().is_none());
            assert_eq!(decoder.receive(&mut &[first][..], judge).is_ok(), good);
        }
        let mut decoder = Decoder::default();
        let mut input = &[0, 0][..];
        // Without a body there is no first byte: the judge must not wait for one.
        assert!(decoder.receive(&mut input, accept).unwrap().is_some());
    }
}
