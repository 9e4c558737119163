//! The I/O threads and what works for them.

pub mod resolver;
