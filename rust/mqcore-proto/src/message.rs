//! A whole message: one or more frames that travel together.
//!
//! A message of a single frame, the common one, needs no allocation of its own, and neither does one of
//! a few short frames.

use std::fmt;

use crate::packed::{Packed, PackedParts, Packing};
use crate::{Frame, INLINE_CAPACITY};

/// One or more frames, delivered completely or not at all.
#[derive(Clone)]
pub struct Message(Body);

#[derive(Clone)]
enum Body {
    Single(Frame),
    /// Several that are short.
    Packed(Packed),
    /// Invariant: at least two frames.
    Many(Vec<Frame>),
}

impl Message {
    /// A message of `frames`.
    ///
    /// # Panics
    /// If `frames` is empty: a message has at least one frame.
    pub fn from_frames(mut frames: Vec<Frame>) -> Self {
        match frames.len() {
            0 => panic!("a message has at least one frame"),
            1 => Self(Body::Single(frames.remove(0))),
            _ => Self(Body::Many(frames)),
        }
    }

    /// Takes a whole message of several short frames off the front of `input`, if that is what stands
    /// there and no frame is longer than `longest`.
    #[inline]
    pub(crate) fn parse_short(input: &mut &[u8], longest: u8) -> Option<Self> {
        let (packed, used) = Packed::parse(input, longest)?;
        *input = &input[used..];
        Some(Self(Body::Packed(packed)))
    }

    /// The payloads of the frames, first to last; never empty.
    #[inline]
    pub fn parts(&self) -> Parts<'_> {
        match &self.0 {
            Body::Single(frame) => Parts::Frames(std::slice::from_ref(frame).iter()),
            Body::Packed(packed) => Parts::Packed(packed.parts()),
            Body::Many(frames) => Parts::Frames(frames.iter()),
        }
    }

    /// The frames, if each is kept by itself; `None` for several short ones that are kept together.
    #[inline]
    pub fn frames(&self) -> Option<&[Frame]> {
        match &self.0 {
            Body::Single(frame) => Some(std::slice::from_ref(frame)),
            Body::Packed(_) => None,
            Body::Many(frames) => Some(frames),
        }
    }

    /// How many frames there are.
    pub fn part_count(&self) -> usize {
        match &self.0 {
            Body::Single(_) => 1,
            Body::Packed(packed) => packed.parts().count(),
            Body::Many(frames) => frames.len(),
        }
    }

    /// The payload of the first frame.
    #[inline]
    pub fn first(&self) -> &[u8] {
        match &self.0 {
            Body::Single(frame) => frame,
            Body::Packed(packed) => packed.parts().next().unwrap_or_default(),
            Body::Many(frames) => &frames[0],
        }
    }

    /// The only frame, if there is only one.
    #[inline]
    pub fn single(&self) -> Option<&Frame> {
        match &self.0 {
            Body::Single(frame) => Some(frame),
            Body::Packed(_) | Body::Many(_) => None,
        }
    }

    /// The only frame, if there is only one.
    #[inline]
    pub fn single_mut(&mut self) -> Option<&mut Frame> {
        match &mut self.0 {
            Body::Single(frame) => Some(frame),
            Body::Packed(_) | Body::Many(_) => None,
        }
    }

    /// A message that is short enough to be kept in the value, as it stands on the wire: its bytes, with
    /// what stands behind them here, and their length.
    #[inline]
    pub(crate) fn packed(&self) -> Option<(&[u8; INLINE_CAPACITY], usize)> {
        match &self.0 {
            Body::Packed(packed) => Some(packed.wire()),
            Body::Single(_) | Body::Many(_) => None,
        }
    }

    /// Whether the message has one frame only.
    #[inline]
    pub fn is_single(&self) -> bool {
        matches!(self.0, Body::Single(_))
    }

    /// Puts `frame` in front of the others.
    #[inline]
    pub fn push_front(&mut self, frame: Frame) {
        self.splice_front([frame]);
    }

    /// Puts `frames` in front of the others, in their order.
    #[inline]
    pub fn splice_front<I>(&mut self, frames: I)
    where
        I: IntoIterator<Item = Frame> + AsRef<[Frame]>,
    {
        let front = frames.as_ref().iter().map(Frame::as_slice);
        if let Some(packed) = Packed::new(front.chain(self.parts())) {
            self.0 = Body::Packed(packed);
            return;
        }
        let old = std::mem::take(self).into_frames();
        let mut all: Vec<Frame> = Vec::with_capacity(frames.as_ref().len() + old.len());
        all.extend(frames);
        all.extend(old);
        *self = Self::from_frames(all);
    }

    /// Takes `count` frames off the front.
    ///
    /// Returns them, and the rest if there is one.
    pub fn split_front(self, count: usize) -> (Vec<Frame>, Option<Message>) {
        if let Body::Packed(packed) = &self.0 {
            let head = packed.parts().take(count).map(Frame::from).collect();
            return (head, Self::of_parts(packed.parts().skip(count)));
        }
        let mut head = self.into_frames();
        let tail = head.split_off(count.min(head.len()));
        let rest = (!tail.is_empty()).then(|| Self::from_frames(tail));
        (head, rest)
    }

    /// Takes the first frame off; the rest, if there is one, is a message again.
    #[inline]
    pub fn pop_front(self) -> (Frame, Option<Message>) {
        match self.0 {
            Body::Single(frame) => (frame, None),
            Body::Packed(packed) => {
                let mut parts = packed.parts();
                let first = parts.next().map(Frame::from).unwrap_or_default();
                (first, Self::of_parts(parts))
            }
            Body::Many(mut frames) => {
                let first = frames.remove(0);
                (first, Some(Self::from_frames(frames)))
            }
        }
    }

    /// A message of copies of parts that were packed; `None` without one.
    #[inline]
    fn of_parts<'a>(mut parts: impl Iterator<Item = &'a [u8]> + Clone) -> Option<Self> {
        match Packed::new(parts.clone()) {
            Some(packed) => Some(Self(Body::Packed(packed))),
            None => parts.next().map(Self::from), // fewer than two
        }
    }

    /// The frames as a vector.
    pub fn into_frames(self) -> Vec<Frame> {
        match self.0 {
            Body::Single(frame) => vec![frame],
            Body::Packed(packed) => packed.parts().map(Frame::from).collect(),
            Body::Many(frames) => frames,
        }
    }

    /// The only frame, or the message back if it has several.
    #[inline]
    pub fn into_single(self) -> Result<Frame, Message> {
        match self.0 {
            Body::Single(frame) => Ok(frame),
            many => Err(Self(many)),
        }
    }

    /// Copies payloads that are pieces of a larger buffer (see [`Run`](crate::Run)): whoever keeps the message does not
    /// keep that.
    #[inline]
    pub fn detach(&mut self) {
        if let Body::Single(frame) = &mut self.0 {
            frame.detach(); // only single frames come in runs
        }
    }

    /// Payload bytes that lie outside of the value.
    #[inline]
    pub fn heap_len(&self) -> usize {
        match &self.0 {
            Body::Single(frame) => frame.heap_len(),
            Body::Packed(_) => 0,
            Body::Many(frames) => frames.iter().map(Frame::heap_len).sum(),
        }
    }

    /// Payload bytes of all frames together.
    pub fn byte_len(&self) -> usize {
        self.parts().map(<[u8]>::len).sum()
    }
}

/// Copies of short parts on their way into a message that needs no allocation.
#[derive(Default)]
pub struct ShortMessage(Packing);

impl ShortMessage {
    /// Adds a copy of `part`; false if there is no room: all parts may take 63 bytes, with two more for
    /// each. [`Message::from_frames`] makes a message of what does not fit.
    #[inline]
    pub fn push(&mut self, part: &[u8]) -> bool {
        self.0.push(part)
    }

    /// The message; `None` if it has fewer than two parts.
    #[inline]
    pub fn finish(self) -> Option<Message> {
        self.0.finish().map(|packed| Message(Body::Packed(packed)))
    }
}

/// The payloads of a message; see [`Message::parts`].
#[derive(Clone)]
#[expect(private_interfaces, reason = "what it is made of is nobody's business")]
pub enum Parts<'a> {
    /// Frames of their own.
    #[doc(hidden)]
    Frames(std::slice::Iter<'a, Frame>),
    /// Short ones in one value.
    #[doc(hidden)]
    Packed(PackedParts<'a>),
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        match self {
            Self::Frames(frames) => frames.next().map(Frame::as_slice),
            Self::Packed(parts) => parts.next(),
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.parts().map(Frame::from))
            .finish()
    }
}

/// A message of one empty frame.
impl Default for Message {
    fn default() -> Self {
        Frame::empty().into()
    }
}

impl From<Frame> for Message {
    #[inline]
    fn from(frame: Frame) -> Self {
        Self(Body::Single(frame))
    }
}

impl From<&[u8]> for Message {
    fn from(payload: &[u8]) -> Self {
        Frame::from(payload).into()
    }
}

impl<const N: usize> From<&[u8; N]> for Message {
    fn from(payload: &[u8; N]) -> Self {
        Frame::from(payload).into()
    }
}

impl From<&str> for Message {
    fn from(payload: &str) -> Self {
        Frame::from(payload).into()
    }
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.parts().eq(other.parts())
    }
}

impl Eq for Message {}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(names: &[&str]) -> Vec<Frame> {
        names.iter().map(|name| Frame::from(*name)).collect()
    }

    #[test]
    fn a_message_is_no_larger_than_its_inline_frame() {
        assert_eq!(size_of::<Message>(), 72);
    }

    #[test]
    fn envelope_goes_on_and_comes_off_in_order() {
        let mut message = Message::from("body");
        message.splice_front(frames(&["a", "b", ""]));
        assert_eq!(message.part_count(), 4);
        assert_eq!(
            message.clone().into_frames(),
            frames(&["a", "b", "", "body"])
        );
        let (envelope, body) = message.split_front(3);
        assert_eq!(envelope, frames(&["a", "b", ""]));
        assert_eq!(body, Some(Message::from("body")));
    }

    #[test]
    fn short_frames_and_long_ones_make_equal_messages() {
        let names = ["id", "", "body"];
        let mut short = ShortMessage::default();
        assert!(names.iter().all(|name| short.push(name.as_bytes())));
        assert!(!short.push(&[0; 60]));
        let short = short.finish().unwrap();
        let long = Message::from_frames(frames(&names));
        assert!(short.packed().is_some() && long.packed().is_none());
        assert_eq!(short, long);
        assert_eq!(format!("{short:?}"), format!("{long:?}"));
        assert_eq!((short.first(), short.byte_len()), (&b"id"[..], 6));
        for count in 0..4 {
            assert_eq!(
                short.clone().split_front(count),
                long.clone().split_front(count)
            );
        }
        let (first, rest) = short.pop_front();
        let (second, rest) = rest.unwrap().pop_front();
        assert_eq!([first, second], ["id".into(), "".into()]);
        assert_eq!(rest, Some("body".into()));
        let mut large = Message::from(&[7; 60]);
        large.push_front("too much".into());
        assert_eq!(large.part_count(), 2);
        assert!(large.packed().is_none());
    }

    #[test]
    fn taking_the_last_frame_leaves_nothing() {
        assert_eq!(Message::from("x").pop_front(), (Frame::from("x"), None));
        assert_eq!(Message::from("x").split_front(9).1, None);
    }
}
