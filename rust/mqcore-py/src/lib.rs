//! The native module `mqcore._core`.
