//! Whole messages out of frames, and the limits that hold for both.

use crate::decoder::Judgement;
use crate::error::{ErrorKind, ProtocolError};
use crate::wire::Header;
use crate::{Frame, Message};

/// What a peer may make us hold. All limits are checked on a frame's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest frame of a message in bytes (MAXMSGSIZE); `None` for no limit.
    pub max_frame: Option<u64>,
    /// The most frames of one message.
    pub max_parts: usize,
    /// The most bytes of one multipart message.
    pub max_message: u64,
    /// The longest subscription prefix in bytes.
    pub max_prefix: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame: None,
            max_parts: 65_536,
            max_message: i32::MAX as u64,
            max_prefix: 1 << 20,
        }
    }
}

/// The longest command, except for subscriptions.
pub(crate) const COMMAND_MAX: usize = 64 * 1024;

/// A publisher's longest command when subscriptions are limited to less.
const PUBLISHER_COMMAND_MIN: usize = 512;

/// What may come when messages flow, on one connection.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Whether there are commands at all (ZMTP 3.x).
    pub(crate) commands: bool,
    /// Whether we are a publisher, so that subscriptions come, and how long they may be.
    pub(crate) max_prefix: Option<usize>,
    pub(crate) max_frame: u64,
    pub(crate) max_parts: usize,
    pub(crate) max_message: u64,
}

impl Rules {
    pub(crate) fn new(limits: &Limits, publisher: bool, commands: bool) -> Self {
        Self {
            commands,
            max_prefix: publisher.then_some(limits.max_prefix),
            max_frame: limits.max_frame.unwrap_or(u64::MAX),
            max_parts: limits.max_parts,
            max_message: limits.max_message,
        }
    }

    /// Frames up to this length, if they are the only one of a message, need no other check.
    pub(crate) fn always_fine(&self) -> u8 {
        let prefix = self.max_prefix.unwrap_or(usize::MAX) as u64;
        let most = self.max_frame.min(prefix.saturating_add(1));
        u8::try_from(most).unwrap_or(u8::MAX)
    }

    /// Judges the header of a frame that a cipher sealed, adding `overhead` bytes; what is inside
    /// is judged when it is open.
    pub(crate) fn judge_sealed(
        &self,
        header: Header,
        overhead: usize,
    ) -> Result<Judgement, ProtocolError> {
        if header.more || header.command {
            return Err(ProtocolError::new(
                ErrorKind::UnexpectedCommand,
                "sent a frame in clear over a secured connection",
            ));
        }
        self.judge_length(header.length.saturating_sub(overhead))?;
        Ok(Judgement::Accept)
    }

    #[inline]
    fn judge_length(&self, length: usize) -> Result<(), ProtocolError> {
        if length as u64 > self.max_frame {
            return Err(oversize(format!(
                "sent a frame of {length} bytes; at most {} are allowed",
                self.max_frame
            )));
        }
        Ok(())
    }

    fn max_command(&self) -> usize {
        match self.max_prefix {
            // "\x09SUBSCRIBE" stands before the prefix.
            Some(prefix) => prefix.saturating_add(10).max(PUBLISHER_COMMAND_MIN),
            None => COMMAND_MAX,
        }
    }
}

/// The message whose last frame has not come yet.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    /// Invariant: `parts.len() < rules.max_parts`.
    parts: Vec<Frame>,
    /// Payload bytes in `parts`. Invariant: `bytes <= rules.max_message`.
    bytes: u64,
}

impl Assembly {
    /// Whether the next frame is the first of its message.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Judges a header. Asks for the body's first byte where it decides whether the frame is a
    /// subscription.
    #[inline]
    pub(crate) fn judge(
        &self,
        rules: &Rules,
        header: Header,
        first: Option<u8>,
    ) -> Result<Judgement, ProtocolError> {
        let length = header.length;
        if header.command {
            return judge_command(rules, length);
        }
        rules.judge_length(length)?;
        if header.more || !self.parts.is_empty() {
            self.judge_part(rules, length)?;
        }
        if let Some(max_prefix) = rules.max_prefix
            && length > max_prefix.saturating_add(1)
        {
            return match first {
                None => Ok(Judgement::NeedsFirstByte),
                Some(0 | 1) => Err(prefix_too_long(length - 1, max_prefix)),
                Some(_) => Ok(Judgement::Accept),
            };
        }
        Ok(Judgement::Accept)
    }

    fn judge_part(&self, rules: &Rules, length: usize) -> Result<(), ProtocolError> {
        if self.parts.len() >= rules.max_parts {
            return Err(oversize(format!(
                "sent a message of more than {} frames",
                rules.max_parts
            )));
        }
        let bytes = self.bytes.saturating_add(length as u64);
        if bytes > rules.max_message {
            return Err(oversize(format!(
                "sent a multipart message of {bytes} bytes or more; at most {} are allowed",
                rules.max_message
            )));
        }
        Ok(())
    }

    /// Adds a judged frame; returns the message if it was the last one.
    #[inline]
    pub(crate) fn push(&mut self, more: bool, frame: Frame) -> Option<Message> {
        if !more && self.parts.is_empty() {
            return Some(frame.into());
        }
        self.bytes += frame.len() as u64;
        self.parts.push(frame);
        if more {
            return None;
        }
        self.bytes = 0;
        Some(Message::from_frames(std::mem::take(&mut self.parts)))
    }

    /// Bytes of memory held.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn memory(&self) -> usize {
        let shared: usize = self
            .parts
            .iter()
            .filter_map(Frame::shared)
            .map(|bytes| bytes.len())
            .sum();
        shared + self.parts.capacity() * size_of::<Frame>()
    }
}

fn judge_command(rules: &Rules, length: usize) -> Result<Judgement, ProtocolError> {
    if !rules.commands {
        return Err(ProtocolError::new(
            ErrorKind::MalformedFrame,
            "sent a frame with the flag COMMAND, which ZMTP 2.0 does not have",
        ));
    }
    let max = rules.max_command();
    if length > max {
        return Err(oversize(format!(
            "sent a command of {length} bytes; at most {max} are allowed"
        )));
    }
    Ok(Judgement::Accept)
}

#[cold]
fn oversize(text: String) -> ProtocolError {
    ProtocolError::new(ErrorKind::Oversize, text)
}

/// The error for a subscription over the limit.
pub(crate) fn prefix_too_long(length: usize, max: usize) -> ProtocolError {
    oversize(format!(
        "sent a subscription with a prefix of {length} bytes; at most {max} are allowed"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(limits: Limits, publisher: bool) -> Rules {
        Rules::new(&limits, publisher, true)
    }

    fn frame(more: bool, length: usize) -> Header {
        Header {
            more,
            command: false,
            length,
        }
    }

    fn command(length: usize) -> Header {
        Header {
            more: false,
            command: true,
            length,
        }
    }

    #[test]
    fn frames_up_to_the_last_become_one_message() {
        let mut assembly = Assembly::default();
        assert_eq!(assembly.push(false, "a".into()), Some(Message::from("a")));
        assert_eq!(assembly.push(true, "b".into()), None);
        assert!(!assembly.is_empty());
        let message = assembly.push(false, "c".into()).unwrap();
        assert_eq!(message.into_frames(), ["b".into(), "c".into()]);
        assert!(assembly.is_empty() && assembly.memory() == 0);
    }

    #[test]
    fn frame_limit_holds_for_each_frame_and_not_for_the_message() {
        let limits = Limits {
            max_frame: Some(10),
            ..Limits::default()
        };
        let rules = rules(limits, false);
        let mut assembly = Assembly::default();
        for _ in 0..3 {
            assert!(assembly.judge(&rules, frame(true, 10), None).is_ok());
            assembly.push(true, Frame::from(&[0; 10]));
        }
        let error = assembly.judge(&rules, frame(false, 11), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the peer sent a frame of 11 bytes; at most 10 are allowed"
        );
        assert!(assembly.judge(&rules, command(30), None).is_ok());
        assert_eq!(rules.always_fine(), 10);
    }

    #[test]
    fn unfinished_message_is_bounded_in_frames() {
        let limits = Limits {
            max_parts: 3,
            ..Limits::default()
        };
        let rules = rules(limits, false);
        let mut assembly = Assembly::default();
        for _ in 0..2 {
            assert!(assembly.judge(&rules, frame(true, 0), None).is_ok());
            assembly.push(true, Frame::empty());
        }
        assert!(assembly.judge(&rules, frame(false, 0), None).is_ok());
        assembly.push(true, Frame::empty());
        for more in [false, true] {
            assert!(assembly.judge(&rules, frame(more, 0), None).is_err());
        }
    }

    #[test]
    fn unfinished_message_is_bounded_in_bytes_and_a_single_frame_is_not() {
        let limits = Limits {
            max_message: 100,
            ..Limits::default()
        };
        let rules = rules(limits, false);
        let mut assembly = Assembly::default();
        assert!(assembly.judge(&rules, frame(false, 101), None).is_ok());
        assert!(assembly.judge(&rules, frame(true, 101), None).is_err());
        assembly.push(true, Frame::from(&[0; 60]));
        assert!(assembly.judge(&rules, frame(false, 40), None).is_ok());
        assert!(assembly.judge(&rules, frame(false, 41), None).is_err());
        let most = isize::MAX.unsigned_abs();
        assert!(assembly.judge(&rules, frame(true, most), None).is_err());
    }

    #[test]
    fn publisher_refuses_a_long_prefix_and_takes_a_long_message() {
        let limits = Limits {
            max_prefix: 1000,
            ..Limits::default()
        };
        let assembly = Assembly::default();
        let publisher = rules(limits.clone(), true);
        let judge = |length, first| assembly.judge(&publisher, frame(false, length), first);
        assert_eq!(judge(1001, None).unwrap(), Judgement::Accept);
        assert_eq!(judge(1002, None).unwrap(), Judgement::NeedsFirstByte);
        assert_eq!(judge(1002, Some(2)).unwrap(), Judgement::Accept);
        for first in [0, 1] {
            assert!(judge(1002, Some(first)).unwrap_err().is_oversize());
        }
        assert!(assembly.judge(&publisher, command(1010), None).is_ok());
        assert!(assembly.judge(&publisher, command(1011), None).is_err());
        let other = rules(limits, false);
        let accepted = assembly.judge(&other, frame(false, 1002), None);
        assert_eq!(accepted.unwrap(), Judgement::Accept);
    }

    #[test]
    fn zmtp_2_0_has_no_commands() {
        let rules = Rules::new(&Limits::default(), false, false);
        let error = Assembly::default()
            .judge(&rules, command(5), None)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::MalformedFrame);
    }
}
