//! SOCKS 5, the client's side: what is said to a proxy before the connection is the peer's (RFC 1928; RFC 1929 for
//! user and password). No I/O: bytes out, bytes in.
//!
//! What the peer sends may follow the proxy's last byte at once, so never more is read than
//! [`wanted`](Negotiation::wanted).

use std::net::IpAddr;

use crate::endpoint::{TcpAddress, TcpHost};
use crate::error::Errno;

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
const CONNECT: u8 = 1;

const NO_LOGIN: u8 = 0;
const LOGIN: u8 = 2;

const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// The reply's version, status, a zero, the kind of address, and the address's first byte.
const REPLY_HEAD: usize = 5;
const PORT: usize = 2;

/// Why a proxy did not make the connection, by the status of its reply.
fn errno(status: u8) -> Errno {
    match status {
        2 => Errno::ACCESS, // its rules forbid it
        5 => Errno::CONNREFUSED,
        6 => Errno::TIMEDOUT,
        _ => Errno::HOSTUNREACH,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Method,
    Login,
    Reply,
    Done,
}

/// One conversation with a proxy.
#[derive(Debug)]
pub(crate) struct Negotiation {
    stage: Stage,
    output: Vec<u8>,
    input: Vec<u8>,
    /// Length of the answer that this stage waits for, as far as it is known.
    wanted: usize,
    /// The login, if there is one to offer.
    login: Option<Vec<u8>>,
    request: Vec<u8>,
}

impl Negotiation {
    /// A conversation about a connection to `target`. A name is looked up by the proxy. Without a `user`
    /// no login is offered. `None`: SOCKS has no way to say this address.
    pub(crate) fn new(target: &TcpAddress, user: &[u8], password: &[u8]) -> Option<Self> {
        let mut request = vec![VERSION, CONNECT, 0];
        match &target.host {
            TcpHost::Ip(IpAddr::V4(address)) => {
                request.push(IPV4);
                request.extend(address.octets());
            }
            TcpHost::Ip(IpAddr::V6(address)) | TcpHost::Zoned(address, _) => {
                request.push(IPV6);
                request.extend(address.octets());
            }
            TcpHost::Name(name) => {
                request.push(NAME);
                request.push(u8::try_from(name.len()).ok()?);
                request.extend(name.as_bytes());
            }
            TcpHost::Any => return None,
        }
        request.extend(target.port.to_be_bytes());
        let login = match user {
            [] => None,
            user => {
                let mut login = vec![LOGIN_VERSION, u8::try_from(user.len()).ok()?];
                login.extend(user);
                login.push(u8::try_from(password.len()).ok()?);
                login.extend(password);
                Some(login)
            }
        };
        let output = match login {
            None => vec![VERSION, 1, NO_LOGIN],
            Some(_) => vec![VERSION, 2, NO_LOGIN, LOGIN],
        };
        Some(Self {
            stage: Stage::Method,
            output,
            input: Vec::new(),
            wanted: 2,
            login,
            request,
        })
    }

    /// What to send now.
    pub(crate) fn output(&self) -> &[u8] {
        &self.output
    }

    /// So much of it was sent.
    pub(crate) fn sent(&mut self, count: usize) {
        self.output.drain(..count);
    }

    /// How many bytes to receive; 0 when the connection is the peer's.
    pub(crate) fn wanted(&self) -> usize {
        self.wanted.saturating_sub(self.input.len())
    }

    /// Takes in at most [`wanted`](Self::wanted) bytes.
    ///
    /// EPROTO: it does not speak SOCKS 5; EACCES: it wants a login that was not offered, or does not take this one, or
    /// forbids the connection; or what became of the connection.
    pub(crate) fn received(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        self.input.extend_from_slice(bytes);
        if self.wanted() == 0 && self.stage != Stage::Done {
            self.answered()?;
        }
        Ok(())
    }

    /// All of the answer is there, or enough to know how long it is.
    fn answered(&mut self) -> Result<(), Errno> {
        match (self.stage, &self.input[..]) {
            (Stage::Method, &[VERSION, NO_LOGIN]) => self.ask(),
            (Stage::Method, &[VERSION, LOGIN]) => match self.login.take() {
                Some(login) => {
                    self.output = login;
                    self.expect(Stage::Login, 2);
                }
                None => return Err(Errno::ACCESS),
            },
            (Stage::Method, &[VERSION, _]) => return Err(Errno::ACCESS),
            (Stage::Login, &[LOGIN_VERSION, 0]) => self.ask(),
            (Stage::Login, &[LOGIN_VERSION, _]) => return Err(Errno::ACCESS),
            (Stage::Reply, &[VERSION, 0, _, kind, first]) => {
                let address = match kind {
                    IPV4 => 4,
                    NAME => 1 + usize::from(first),
                    IPV6 => 16,
                    _ => return Err(Errno::PROTO),
                };
                self.wanted = REPLY_HEAD - 1 + address + PORT;
            }
            (Stage::Reply, &[VERSION, 0, ..]) => self.expect(Stage::Done, 0),
            (Stage::Reply, &[VERSION, status, ..]) => return Err(errno(status)),
            _ => return Err(Errno::PROTO),
        }
        Ok(())
    }

    /// Asks for the connection.
    fn ask(&mut self) {
        self.output = std::mem::take(&mut self.request);
        self.expect(Stage::Reply, REPLY_HEAD);
    }

    fn expect(&mut self, stage: Stage, wanted: usize) {
        self.stage = stage;
        self.wanted = wanted;
        self.input.clear();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn target(host: TcpHost) -> TcpAddress {
        TcpAddress { host, port: 5555 }
    }

    fn started(user: &[u8], password: &[u8]) -> Negotiation {
        let host = TcpHost::Name("example.org".into());
        Negotiation::new(&target(host), user, password).unwrap()
    }

    fn said(negotiation: &mut Negotiation) -> Vec<u8> {
        let output = negotiation.output().to_vec();
        negotiation.sent(output.len());
        output
    }

    const REQUEST: &[u8] = b"\x05\x01\x00\x03\x0bexample.org\x15\xb3";

    #[test]
    fn name_is_looked_up_by_the_proxy() {
        let mut negotiation = started(b"", b"");
        assert_eq!(said(&mut negotiation), [5, 1, 0]);
        assert_eq!(negotiation.wanted(), 2);
        negotiation.received(&[5, 0]).unwrap();
        assert_eq!(said(&mut negotiation), REQUEST);
        negotiation.received(&[5, 0, 0, 1, 127]).unwrap();
        assert_eq!(negotiation.wanted(), 5);
        negotiation.received(&[0, 0, 1, 0, 80]).unwrap();
        assert_eq!(negotiation.wanted(), 0);
        assert!(negotiation.output().is_empty());
    }

    #[test]
    fn addresses_are_sent_as_they_are() {
        for (host, expected) in [
            ("1.2.3.4", &[5, 1, 0, 1, 1, 2, 3, 4, 0x15, 0xb3][..]),
            (
                "::1",
                &[
                    5, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x15, 0xb3,
                ],
            ),
        ] {
            let host = TcpHost::Ip(host.parse().unwrap());
            let mut negotiation = Negotiation::new(&target(host), b"", b"").unwrap();
            said(&mut negotiation);
            negotiation.received(&[5, 0]).unwrap();
            assert_eq!(said(&mut negotiation), expected);
        }
    }

    #[test]
    fn login_is_made_if_the_proxy_wants_one() {
        let mut negotiation = started(b"me", b"secret");
        assert_eq!(said(&mut negotiation), [5, 2, 0, 2]);
        negotiation.received(&[5, 2]).unwrap();
        assert_eq!(said(&mut negotiation), b"\x01\x02me\x06secret");
        negotiation.received(&[1, 0]).unwrap();
        assert_eq!(said(&mut negotiation), REQUEST);
        let mut negotiation = started(b"me", b"");
        negotiation.received(&[5, 0]).unwrap();
        assert_eq!(said(&mut negotiation), REQUEST, "not wanted");
    }

    #[test]
    fn failures_are_told_apart() {
        let answer = |answers: &[&[u8]]| {
            let mut negotiation = started(b"me", b"secret");
            answers
                .iter()
                .find_map(|bytes| negotiation.received(bytes).err())
        };
        assert_eq!(answer(&[&[4, 0]]), Some(Errno::PROTO));
        assert_eq!(answer(&[&[5, 0xff]]), Some(Errno::ACCESS));
        assert_eq!(answer(&[&[5, 1]]), Some(Errno::ACCESS), "not offered");
        assert_eq!(answer(&[&[5, 2], &[1, 1]]), Some(Errno::ACCESS));
        assert_eq!(answer(&[&[5, 2], &[5, 0]]), Some(Errno::PROTO));
        let refused = answer(&[&[5, 0], &[5, 5, 0, 1, 0]]);
        assert_eq!(refused, Some(Errno::CONNREFUSED));
        assert_eq!(answer(&[&[5, 0], &[5, 0, 0, 9, 0]]), Some(Errno::PROTO));
        assert_eq!(started(b"", b"").received(&[5, 2]), Err(Errno::ACCESS));
    }

    #[test]
    fn what_socks_cannot_say_is_no_conversation() {
        let long = TcpHost::Name("x".repeat(256));
        assert!(Negotiation::new(&target(long), b"", b"").is_none());
        assert!(Negotiation::new(&target(TcpHost::Any), b"", b"").is_none());
    }

    proptest! {
        /// Whatever a proxy says, in whatever pieces: an end, and never more wanted than an answer has.
        #[test]
        fn any_answer_ends_in_a_bounded_number_of_bytes(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut negotiation = started(b"me", b"secret");
            let mut at = 0;
            while negotiation.wanted() > 0 && at < bytes.len() {
                prop_assert!(negotiation.wanted() <= REPLY_HEAD + 256 + PORT);
                let end = (at + negotiation.wanted()).min(bytes.len());
                if negotiation.received(&bytes[at..end]).is_err() {
                    return Ok(());
                }
                at = end;
            }
            prop_assert!(at <= 2 + 2 + REPLY_HEAD + 256 + PORT);
        }
    }
}
