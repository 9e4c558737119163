//! The socket types of ZeroMQ: their numbers, names and who may talk to whom.

/// A ZeroMQ socket type (RFC 28, 29, 30, 31).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are the field's own")]
pub enum SocketType {
    Pair = 0,
    Pub = 1,
    Sub = 2,
    Req = 3,
    Rep = 4,
    Dealer = 5,
    Router = 6,
    Pull = 7,
    Push = 8,
    Xpub = 9,
    Xsub = 10,
    Stream = 11,
}

impl SocketType {
    /// Every socket type, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::Pair,
        Self::Pub,
        Self::Sub,
        Self::Req,
        Self::Rep,
        Self::Dealer,
        Self::Router,
        Self::Pull,
        Self::Push,
        Self::Xpub,
        Self::Xsub,
        Self::Stream,
    ];

    /// The type with `number`, as in `zmq.h`.
    pub fn from_number(number: i64) -> Option<Self> {
        usize::try_from(number)
            .ok()
            .and_then(|index| Self::ALL.get(index))
            .copied()
    }

    /// The value of the `Socket-Type` property (RFC 23).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pair => "PAIR",
            Self::Pub => "PUB",
            Self::Sub => "SUB",
            Self::Req => "REQ",
            Self::Rep => "REP",
            Self::Dealer => "DEALER",
            Self::Router => "ROUTER",
            Self::Pull => "PULL",
            Self::Push => "PUSH",
            Self::Xpub => "XPUB",
            Self::Xsub => "XSUB",
            Self::Stream => "STREAM",
        }
    }

    /// The type that announces itself as `name`.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name().as_bytes() == name)
    }

    /// Whether a peer of type `peer` may be connected to a socket of this type.
    pub const fn accepts(self, peer: Self) -> bool {
        use SocketType::*;
        matches!(
            (self, peer),
            (Pair, Pair)
                | (Pub | Xpub, Sub | Xsub)
                | (Sub | Xsub, Pub | Xpub)
                | (Req, Rep | Router)
                | (Rep, Req | Dealer)
                | (Dealer, Rep | Dealer | Router)
                | (Router, Req | Dealer | Router)
                | (Pull, Push)
                | (Push, Pull)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acceptance_is_mutual() {
        for a in SocketType::ALL {
            for b in SocketType::ALL {
                assert_eq!(a.accepts(b), b.accepts(a), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn numbers_and_names_lead_back() {
        for kind in SocketType::ALL {
            assert_eq!(SocketType::from_number(kind as i64), Some(kind));
            assert_eq!(SocketType::from_name(kind.name().as_bytes()), Some(kind));
        }
        assert_eq!(SocketType::from_number(12), None);
        assert_eq!(SocketType::from_number(-1), None);
    }
}
