//! Any bytes from a peer, from the first one on.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mqcore_proto::fuzzing::greeting(data));
