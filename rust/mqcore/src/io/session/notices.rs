//! Who is told of what happens to a connection: whoever watches the socket, by events and counters; the
//! application itself, by messages, where an option asks for them.

use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;

use mqcore_proto::{Frame, SocketType};

use super::{Core, Link, Loss, PipeLife, Session, SessionConfig, pipe_life};
use crate::error::Errno;
use crate::monitor::{Counters, Ends, EventKind};
use crate::transport::Stream;

/// Bits of ROUTER_NOTIFY.
const NOTIFY_CONNECT: i32 = 1;
const NOTIFY_DISCONNECT: i32 = 2;

impl Session {
    /// Reports what happened without a connection to the peer.
    pub(super) fn emit(&self, kind: EventKind, value: u32) {
        self.emit_at(kind, value, None);
    }

    /// Reports what happened to a connection, if there is one.
    pub(super) fn emit_at(&self, kind: EventKind, value: u32, stream: Option<&Stream>) {
        let address = &self.config.address;
        self.config
            .port
            .monitor
            .emit(kind, value, address, || self.ends_of(stream));
    }

    pub(super) fn ends_of(&self, stream: Option<&Stream>) -> Ends {
        let address = &self.config.address;
        match stream {
            None if self.accepted => Ends::bound(address),
            None => Ends::sought(address),
            Some(stream) => Ends {
                local: stream.local_endpoint(),
                remote: if self.accepted {
                    stream.remote_endpoint()
                } else {
                    address.to_string()
                },
            },
        }
    }

    /// Reports why a connection is over, and that it is.
    pub(super) fn emit_loss(&self, link: &Link, loss: &Loss) {
        let counters = &self.config.port.monitor.counters;
        let emit = |kind, value: i32| self.emit_at(kind, value as u32, Some(&link.stream));
        match loss {
            Loss::Finished => {}
            Loss::Gone(error) => {
                if !link.handshake_done {
                    let number = error.raw_os_error().unwrap_or(Errno::CONNRESET.0);
                    emit(EventKind::HandshakeFailedNoDetail, number);
                }
            }
            Loss::Refused => {
                Counters::count(&counters.refused);
                emit(EventKind::HandshakeFailedNoDetail, Errno::ADDRINUSE.0);
            }
            Loss::Peer(error) if error.is_timeout() => {
                Counters::count(&counters.timeouts);
                if !link.handshake_done {
                    emit(EventKind::HandshakeFailedNoDetail, Errno::AGAIN.0);
                }
            }
            Loss::Peer(error) => {
                Counters::count(&counters.protocol_errors);
                let code = error.monitor_code();
                emit(EventKind::HandshakeFailedProtocol, code as i32);
            }
        }
        Counters::count(&counters.disconnected);
        emit(EventKind::Disconnected, link.stream.as_raw_fd());
    }
}

impl Core {
    /// An empty message for the application, if it wants to know.
    pub(super) fn tell_of_arrival(&mut self, config: &SessionConfig) {
        if wants_notices(config, NOTIFY_CONNECT) {
            self.tell(config, Frame::empty());
        }
    }

    /// What the application hears when a connection is over whose handshake was done: of an end that it asked
    /// for itself, nothing.
    pub(super) fn tell_of_loss(&mut self, config: &SessionConfig, asked_for: bool) {
        if asked_for {
            return;
        }
        if wants_notices(config, NOTIFY_DISCONNECT) {
            self.tell(config, Frame::empty());
        }
        let words = match self.dialer {
            None => &config.options.disconnect_msg,
            Some(_) => &config.options.hiccup_msg,
        };
        if !words.is_empty() {
            self.tell(config, Frame::from(&words[..]));
        }
    }

    /// Puts a message into the pipe that no peer sent. In a pipe that outlives its connections it needs room as any
    /// other: a peer that comes and goes must not fill it for ever.
    fn tell(&mut self, config: &SessionConfig, words: Frame) {
        let lasting = pipe_life(config.port.kind, &config.options) == PipeLife::Session;
        if let Some(pipe) = &mut self.pipe {
            if lasting && self.dialer.is_some() && !pipe.writer.has_room() {
                config.port.drops.full.fetch_add(1, Ordering::Relaxed);
                return;
            }
            pipe.writer.write(words.into());
            pipe.writer.flush();
        }
    }
}

/// Whether an empty message shall tell of peers that come or go: `bit` says which.
fn wants_notices(config: &SessionConfig, bit: i32) -> bool {
    let options = &config.options;
    match config.port.kind {
        SocketType::Stream => options.stream_notify,
        // Of a raw connection nobody else would say that it is there.
        SocketType::Router => options.router_raw || options.router_notify & bit != 0,
        _ => false,
    }
}
