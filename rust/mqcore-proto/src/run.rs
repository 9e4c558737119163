//! Many short messages in one value, as they stand on the wire.
//!
//! A stream of small messages comes and goes in pieces of many kilobytes. What is passed on between two threads is then
//! such a piece, not each message by itself: one item of a queue instead of hundreds, and a few words of memory for a
//! message instead of two cache lines. Whoever reads them takes one message after the other off the front.

use bytes::{Buf, Bytes};

use crate::wire::{HEADER_MAX, Header, LONG};
use crate::{Frame, INLINE_CAPACITY, Message};

/// The longest payload that stands in a run; a longer one is better off in memory of its own.
const LONGEST: usize = 8 * 1024;

/// A run of fewer bytes, or of one message, does not pay.
const SHORTEST: usize = 128;

/// Whole messages of one frame each, one behind the other.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Invariant: begins with `count` whole frames without flags but LONG, and ends behind the last.
    bytes: Bytes,
    count: usize,
}

impl Run {
    /// Takes a run off `input`, of at most `most` messages: frames up to `longest` bytes that are whole, and each a
    /// message. `None` if there are too few of them to be worth it.
    #[inline]
    pub(crate) fn take(input: &mut &[u8], most: usize, longest: usize) -> Option<Self> {
        let longest = longest.min(LONGEST);
        let mut end = 0;
        let mut count = 0;
        while count < most
            && let Some((length, body)) = parse(&input[end..])
            && length <= longest
            && length <= input.len() - end - body
        {
            end += body + length;
            count += 1;
        }
        if count < 2 || end < SHORTEST {
            return None;
        }
        let (run, rest) = input.split_at(end);
        *input = rest;
        Some(Self {
            bytes: Bytes::copy_from_slice(run),
            count,
        })
    }

    /// How many messages there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of all messages, with their headers.
    #[inline]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Shows the first message to `look`, and takes it out. A payload that is too long to be kept in its frame stays where
    /// it is, with all of the run: see [`Message::detach`].
    #[inline]
    pub fn take_with<R>(&mut self, look: impl FnOnce(&mut Message) -> R) -> Option<R> {
        let (length, body) = parse(&self.bytes)?;
        self.count -= 1;
        let frame = if length <= INLINE_CAPACITY {
            // More bytes than the message has let the copy have a fixed length.
            let rest = &self.bytes[body..];
            let frame = match rest.first_chunk() {
                Some(chunk) => Frame::copy_from_array(chunk, length as u8)?,
                None => Frame::copy_from_slice(&rest[..length]),
            };
            self.bytes.advance(body + length);
            frame
        } else {
            self.bytes.advance(body);
            Frame::part_of(self.bytes.split_to(length))
        };
        Some(look(&mut frame.into()))
    }

    /// The first message, which is taken out, with memory of its own.
    pub fn pop_front(&mut self) -> Option<Message> {
        self.take_with(|message| {
            message.detach();
            std::mem::take(message)
        })
    }

    /// Shows the payloads of the first messages, at most `most`, to `look`, and takes them out; how many there were.
    pub fn take_each(&mut self, most: usize, look: &mut dyn FnMut(&[u8])) -> usize {
        let mut used = 0;
        let mut taken = 0;
        while taken < most
            && let Some((length, body)) = parse(&self.bytes[used..])
        {
            let start = used + body;
            used = start + length;
            look(&self.bytes[start..used]);
            taken += 1;
        }
        self.bytes.advance(used);
        self.count -= taken;
        taken
    }

    /// What stands on the wire.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

/// The length of the body of the frame that `bytes` begin with, and where it begins; `None` if the header is cut, or
/// has other flags than a message of one frame.
#[inline]
fn parse(bytes: &[u8]) -> Option<(usize, usize)> {
    match bytes {
        [0, length, ..] => Some((usize::from(*length), 2)),
        [LONG, rest @ ..] => {
            let length = u64::from_be_bytes(*rest.first_chunk()?);
            Some((usize::try_from(length).ok()?, HEADER_MAX))
        }
        _ => None,
    }
}

/// A run that grows.
#[derive(Debug, Default)]
pub struct RunBuilder {
    bytes: Vec<u8>,
    count: usize,
}

impl RunBuilder {
    /// Whether a payload of `length` bytes may stand in a run.
    #[inline]
    pub fn takes(length: usize) -> bool {
        length <= LONGEST
    }

    /// Adds a message that has a copy of `payload`.
    ///
    /// # Panics
    /// If it is too long; see [`takes`](Self::takes).
    #[inline]
    pub fn push(&mut self, payload: &[u8]) {
        assert!(Self::takes(payload.len()), "too long for a run");
        let header = Header {
            more: false,
            command: false,
            length: payload.len(),
        };
        header.put(&mut self.bytes);
        self.bytes.extend_from_slice(payload);
        self.count += 1;
    }

    /// How many messages there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many bytes they take.
    #[inline]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The run; the builder is empty again, and expects as much.
    pub fn finish(&mut self) -> Run {
        let expected = Vec::with_capacity(self.bytes.len());
        Run {
            bytes: std::mem::replace(&mut self.bytes, expected).into(),
            count: std::mem::take(&mut self.count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{command, epoch, ready_connection, written};
    use crate::{Config, Connection, Event, SocketType};
    use proptest::prelude::*;

    fn run_of(payloads: &[Vec<u8>]) -> Run {
        let mut builder = RunBuilder::default();
        for payload in payloads {
            builder.push(payload);
        }
        assert_eq!(builder.len(), payloads.len());
        let run = builder.finish();
        assert!(builder.is_empty() && builder.byte_len() == 0);
        run
    }

    fn messages(mut run: Run) -> Vec<Message> {
        let count = run.len();
        let messages: Vec<_> = std::iter::from_fn(|| run.pop_front()).collect();
        assert!(run.is_empty() && messages.len() == count);
        messages
    }

    #[test]
    fn what_is_cut_too_long_or_no_message_of_one_frame_ends_a_run() {
        let good = run_of(&vec![vec![7; 60]; 4]).into_bytes();
        for (behind, what) in [
            (&b"\x00\x05abcd"[..], "cut"),
            (b"\x00", "a cut header"),
            (b"\x02\0\0\0\0\0\0\x01", "a cut long header"),
            (b"\x02\xff\xff\xff\xff\xff\xff\xff\xffx", "too long"),
            (b"\x01\x01a\x00\x01b", "two frames"),
            (b"\x04\x05\x04PING", "a command"),
            (b"\xf8\x01x", "no frame"),
        ] {
            let bytes = [&good[..], behind].concat();
            let mut input = &bytes[..];
            let run = Run::take(&mut input, 9, 255).unwrap();
            assert_eq!((run.len(), input), (4, behind), "{what}");
            assert!(Run::take(&mut input, 9, 255).is_none(), "{what}");
            assert_eq!(input, behind, "{what}");
        }
        let mut input = &good[..];
        assert!(Run::take(&mut input, 1, 255).is_none(), "one message");
        assert!(Run::take(&mut input, 2, 255).is_none(), "few bytes");
        assert!(
            Run::take(&mut input, 9, 59).is_none(),
            "frames over the limit"
        );
        assert_eq!(Run::take(&mut input, 3, 60).map(|run| run.len()), Some(3));
    }

    #[test]
    fn long_payload_is_no_copy_until_it_is_detached() {
        let mut run = run_of(&[vec![7; 300], vec![8; 300]]);
        let whole = run.bytes.as_ptr_range();
        run.take_with(|message| {
            let before = message.clone();
            assert!(whole.contains(&message.first().as_ptr()));
            message.detach();
            assert!(!whole.contains(&message.first().as_ptr()));
            assert_eq!(*message, before);
        });
    }

    #[test]
    fn runs_bring_the_same_messages_and_leave_out_what_must_be_looked_at() {
        let body = |length: usize| Message::from(&vec![7; length][..]);
        let mut sender = ready_connection(Config::new(SocketType::Dealer), (3, 1), epoch());
        let mut sent = Vec::new();
        for length in [3, 0, 64, 65, 255, 256, 300, 3, 9_000, 100, 100] {
            sent.extend([body(length), body(length)]);
            if length == 300 {
                sent.push(Message::from_frames(vec!["a".into(), "b".into()]));
            }
        }
        for message in &sent {
            sender.send(message.clone());
        }
        let input = written(&mut sender);
        let pings = [&command("PING", b"\0\0")[..], &input, b"\0"].concat();
        let mut limited = Config::new(SocketType::Dealer);
        limited.limits.max_frame = Some(200);
        for (config, in_runs) in [
            (Config::new(SocketType::Dealer), 17),
            (Config::new(SocketType::Pub), 13),
            (Config::new(SocketType::Req), 0),
            (limited, 7),
        ] {
            let mut plain = ready_connection(config.clone(), (3, 1), epoch());
            let mut rest = &pings[..];
            let mut expected = Vec::new();
            while let Ok(Some(Event::Message(message))) = plain.receive(&mut rest, epoch()) {
                expected.push(message);
            }
            let mut connection = ready_connection(config, (3, 1), epoch());
            let mut input = &pings[..];
            let (mut received, mut counted) = (Vec::new(), 0);
            let failed = loop {
                if let Some(mut run) = connection.receive_run(&mut input, 9, epoch()) {
                    counted += run.len();
                    received.extend(std::iter::from_fn(|| run.pop_front()));
                    continue;
                }
                match connection.receive(&mut input, epoch()) {
                    Ok(Some(Event::Message(message))) => received.push(message),
                    Ok(_) => break false,
                    Err(_) => break true,
                }
            };
            assert_eq!((received, failed), (expected, !plain.is_ready()));
            assert_eq!(counted, in_runs);
        }
    }

    #[test]
    fn a_run_is_sent_as_its_messages_and_a_subscription_in_it_as_a_command() {
        let mut builder = RunBuilder::default();
        let mut sent = Vec::new();
        for length in [3, 64, 65, 300, 8_000, 8_000, 8_000] {
            builder.push(&vec![1; length]);
            sent.push(Message::from(&vec![1; length][..]));
        }
        let run = builder.finish();
        let connection = |kind| match Config::new(kind) {
            raw if kind == SocketType::Stream => {
                let mut connection = Connection::new(raw, epoch());
                connection.receive(&mut &[][..], epoch()).unwrap();
                connection
            }
            config => ready_connection(config, (3, 1), epoch()),
        };
        for kind in [SocketType::Push, SocketType::Xsub, SocketType::Stream] {
            let (mut by_run, mut one_by_one) = (connection(kind), connection(kind));
            by_run.send_run(run.clone());
            for message in &sent {
                one_by_one.send(message.clone());
            }
            assert_eq!(written(&mut by_run), written(&mut one_by_one), "{kind:?}");
        }
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_over_the_wire_too(
            lengths in prop::collection::vec(prop_oneof![0..80_usize, 250..260_usize, 8_000..=LONGEST], 0..20),
            most in 0..25_usize,
        ) {
            let payloads: Vec<Vec<u8>> = lengths.iter().enumerate().map(|(index, &length)| vec![index as u8; length]).collect();
            let expected: Vec<Message> = payloads.iter().map(|payload| payload[..].into()).collect();
            let run = run_of(&payloads);
            prop_assert_eq!(&messages(run.clone()), &expected);
            let mut rest = run.clone();
            let mut shown = Vec::new();
            let taken = rest.take_each(most, &mut |payload| shown.push(payload.to_vec()));
            prop_assert_eq!(taken, most.min(payloads.len()));
            prop_assert_eq!(&shown, &payloads[..taken]);
            prop_assert_eq!(&messages(rest), &expected[taken..]);
            let wire = run.into_bytes();
            let mut input = &wire[..];
            if let Some(taken) = Run::take(&mut input, most, LONGEST) {
                prop_assert_eq!(taken.len(), most.min(payloads.len()));
                let count = taken.len();
                prop_assert_eq!(&messages(taken), &expected[..count]);
                let rest = Run { bytes: Bytes::copy_from_slice(input), count: payloads.len() - count };
                prop_assert_eq!(&messages(rest), &expected[count..]);
            } else {
                prop_assert_eq!(input, &wire[..]);
            }
        }
    }
}
