//! Options.

/// An option's value as it crosses the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionValue {
    /// int, int64, uint64 and descriptors.
    Int(i64),
    /// Binary and text.
    Bytes(Vec<u8>),
}

/// How an option's value looks from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// A 32-bit integer.
    Int,
    /// A 64-bit integer.
    Int64,
    /// Binary or text.
    Bytes,
    /// A descriptor.
    Fd,
}
