//! What can go wrong in a call, with the error numbers of the ZeroMQ API.

use std::borrow::Cow;
use std::fmt;
use std::io;

/// The result of an engine call.
pub type Result<T> = std::result::Result<T, Error>;

/// An error number: the host's `errno`, or one of ZeroMQ's own.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

/// Where ZeroMQ's own error numbers begin.
const OWN: i32 = 156_384_712;

macro_rules! host {
    ($($name:ident),* $(,)?) => {
        #[expect(missing_docs, reason = "the host's errno names")]
        impl Errno {
            $(pub const $name: Self = Self(rustix::io::Errno::$name.raw_os_error());)*
        }
    };
}

host! {
    ACCESS, ADDRINUSE, ADDRNOTAVAIL, AFNOSUPPORT, AGAIN, BUSY, CONNREFUSED, CONNRESET, FAULT,
    HOSTUNREACH, INPROGRESS, INTR, INVAL, MFILE, MSGSIZE, NAMETOOLONG, NODEV, NOENT, NOTSOCK,
    NOTSUP, PIPE, PROTO, PROTONOSUPPORT, TIMEDOUT,
}

impl Errno {
    /// The operation does not fit the socket's state (EFSM).
    pub const FSM: Self = Self(OWN + 51);
    /// The transport cannot carry this socket type (ENOCOMPATPROTO).
    pub const NOCOMPATPROTO: Self = Self(OWN + 52);
    /// The context was terminated (ETERM).
    pub const TERM: Self = Self(OWN + 53);
    /// No I/O thread is there (EMTHREAD).
    pub const MTHREAD: Self = Self(OWN + 54);

    /// The number's standard text.
    pub fn text(self) -> Cow<'static, str> {
        match self {
            Self::FSM => "Operation cannot be accomplished in current state".into(),
            Self::NOCOMPATPROTO => "The protocol is not compatible with the socket type".into(),
            Self::TERM => "Context was terminated".into(),
            Self::MTHREAD => "No thread available".into(),
            Self::HOSTUNREACH => "Host unreachable".into(),
            Self(number) => {
                let text = io::Error::from_raw_os_error(number).to_string();
                match text.rfind(" (os error") {
                    Some(end) => text[..end].to_owned().into(),
                    None => text.into(),
                }
            }
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({}: {})", self.0, self.text())
    }
}

/// An error number, and what was wrong if the number alone does not say it.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    errno: Errno,
    detail: Option<Box<str>>,
}

impl Error {
    /// An error with a sentence for people: what was wrong, with the value, and what would be right.
    pub fn new(errno: Errno, detail: impl Into<String>) -> Self {
        Self {
            errno,
            detail: Some(detail.into().into_boxed_str()),
        }
    }

    /// The error's number.
    #[inline]
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// What was wrong, where the number's own text does not say enough.
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }
}

impl From<Errno> for Error {
    /// The bare number: no allocation, for the errors of the hot path.
    #[inline]
    fn from(errno: Errno) -> Self {
        Self {
            errno,
            detail: None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(number) => Errno(number).into(),
            None => Self::new(Errno::INVAL, error.to_string()),
        }
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(errno: rustix::io::Errno) -> Self {
        Errno(errno.raw_os_error()).into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => write!(f, "{}: {detail}", self.errno.text()),
            None => f.write_str(&self.errno.text()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({}: {self})", self.errno.0)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_numbers_are_those_of_the_zeromq_api() {
        assert_eq!(Errno::FSM.0, 156_384_763);
        assert_eq!(Errno::MTHREAD.0, 156_384_766);
    }

    #[test]
    fn text_is_the_systems_without_rust_decoration() {
        assert_eq!(Errno::INVAL.text(), "Invalid argument");
        assert_eq!(
            Error::new(Errno::INVAL, "port 70000 is over 65535").to_string(),
            "Invalid argument: port 70000 is over 65535"
        );
    }
}
