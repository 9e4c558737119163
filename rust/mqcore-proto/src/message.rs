//! A whole message: one or more frames that travel together.
//!
//! A single-frame message, the common one, needs no allocation of its own.

use crate::Frame;

/// One or more frames, delivered completely or not at all.
#[derive(Clone, Debug)]
pub struct Message(Parts);

#[derive(Clone, Debug)]
enum Parts {
    Single(Frame),
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
            1 => Self(Parts::Single(frames.remove(0))),
            _ => Self(Parts::Many(frames)),
        }
    }

    /// The frames, first to last; never empty.
    #[inline]
    pub fn frames(&self) -> &[Frame] {
        match &self.0 {
            Parts::Single(frame) => std::slice::from_ref(frame),
            Parts::Many(frames) => frames,
        }
    }

    /// The first frame.
    #[inline]
    pub fn first(&self) -> &Frame {
        match &self.0 {
            Parts::Single(frame) => frame,
            Parts::Many(frames) => &frames[0],
        }
    }

    /// The only frame, if there is only one.
    #[inline]
    pub fn single(&self) -> Option<&Frame> {
        match &self.0 {
            Parts::Single(frame) => Some(frame),
            Parts::Many(_) => None,
        }
    }

    /// The only frame, if there is only one.
    #[inline]
    pub fn single_mut(&mut self) -> Option<&mut Frame> {
        match &mut self.0 {
            Parts::Single(frame) => Some(frame),
            Parts::Many(_) => None,
        }
    }

    /// Whether the message has one frame only.
    #[inline]
    pub fn is_single(&self) -> bool {
        matches!(self.0, Parts::Single(_))
    }

    /// Puts `frame` in front of the others.
    pub fn push_front(&mut self, frame: Frame) {
        self.splice_front(std::iter::once(frame));
    }

    /// Puts `frames` in front of the others, in their order.
    pub fn splice_front(&mut self, frames: impl IntoIterator<Item = Frame>) {
        let old = std::mem::replace(&mut self.0, Parts::Single(Frame::empty()));
        let mut all: Vec<Frame> = Vec::with_capacity(4);
        all.extend(frames);
        match old {
            Parts::Single(frame) => all.push(frame),
            Parts::Many(rest) => all.extend(rest),
        }
        *self = Self::from_frames(all);
    }

    /// Takes `count` frames off the front.
    ///
    /// Returns them, and the rest if there is one.
    pub fn split_front(self, count: usize) -> (Vec<Frame>, Option<Message>) {
        let mut head = self.into_frames();
        let tail = head.split_off(count.min(head.len()));
        let rest = (!tail.is_empty()).then(|| Self::from_frames(tail));
        (head, rest)
    }

    /// Takes the first frame off; the rest, if there is one, is a message again.
    pub fn pop_front(self) -> (Frame, Option<Message>) {
        match self.0 {
            Parts::Single(frame) => (frame, None),
            Parts::Many(mut frames) => {
                let first = frames.remove(0);
                (first, Some(Self::from_frames(frames)))
            }
        }
    }

    /// The frames as a vector.
    pub fn into_frames(self) -> Vec<Frame> {
        match self.0 {
            Parts::Single(frame) => vec![frame],
            Parts::Many(frames) => frames,
        }
    }

    /// The only frame, or the message back if it has several.
    #[inline]
    pub fn into_single(self) -> Result<Frame, Message> {
        match self.0 {
            Parts::Single(frame) => Ok(frame),
            many => Err(Self(many)),
        }
    }

    /// Payload bytes of all frames together.
    pub fn byte_len(&self) -> usize {
        self.frames().iter().map(|frame| frame.len()).sum()
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
        Self(Parts::Single(frame))
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
        self.frames() == other.frames()
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
        assert_eq!(message.frames(), frames(&["a", "b", "", "body"]));
        let (envelope, body) = message.split_front(3);
        assert_eq!(envelope, frames(&["a", "b", ""]));
        assert_eq!(body, Some(Message::from("body")));
    }

    #[test]
    fn taking_the_last_frame_leaves_nothing() {
        assert_eq!(Message::from("x").pop_front(), (Frame::from("x"), None));
        assert_eq!(Message::from("x").split_front(9).1, None);
    }
}
