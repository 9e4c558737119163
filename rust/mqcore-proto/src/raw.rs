//! Raw mode: a STREAM socket's peer is any program that speaks TCP, so there is no ZMTP at all.
//!
//! Bytes in are messages of one frame, cut as they come; frames out are bytes without headers.

use crate::{Frame, Message};

/// The longest message made of incoming bytes.
const CHUNK: usize = 8192;

/// Takes the next message off `input`.
pub(crate) fn receive(input: &mut &[u8]) -> Option<Message> {
    if input.is_empty() {
        return None;
    }
    let (chunk, rest) = input.split_at(input.len().min(CHUNK));
    *input = rest;
    Some(Frame::copy_from_slice(chunk).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_is_cut_into_messages_of_at_most_8192_bytes() {
        let bytes = vec![7; 20_000];
        let mut input = &bytes[..];
        let mut lengths = Vec::new();
        while let Some(message) = receive(&mut input) {
            lengths.push(message.byte_len());
        }
        assert_eq!(lengths, [8192, 8192, 3616]);
    }
}
