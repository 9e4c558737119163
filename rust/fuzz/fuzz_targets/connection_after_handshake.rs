//! Any bytes from a peer whose handshake was good.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mqcore_proto::fuzzing::connection_after_handshake(data));
