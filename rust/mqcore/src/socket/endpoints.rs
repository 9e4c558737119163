//! Binding, connecting, and ending either.

use std::sync::Arc;
use std::time::Instant;

use mqcore_proto::{Frame, SocketType};

use super::{Socket, closed};
use crate::endpoint::Endpoint;
use crate::error::{Errno, Error, Result};
use crate::io::{Acceptor, Session, SessionConfig};
use crate::monitor::{Ends, EventKind};
use crate::options::SocketOptions;
use crate::port::{Tend, next_id};
use crate::sync::lock;
use crate::transport::inproc::Side;
use crate::transport::{Listener, bound_text, proxy};

/// The binds and connects of a socket.
#[derive(Default)]
pub(super) struct Bonds {
    pub(super) list: Vec<Bond>,
    pub(super) last_endpoint: String,
}

pub(super) struct Bond {
    pub(super) id: u64,
    /// As LAST_ENDPOINT shows it.
    pub(super) address: String,
    pub(super) kind: BondKind,
}

pub(super) enum BondKind {
    Bind(Arc<Acceptor>),
    Connect(Arc<Session>),
    InprocBind,
    InprocConnect,
}

impl Socket {
    /// Binds to an endpoint (`tcp://`, `ipc://` or `inproc://`).
    ///
    /// # Errors
    /// EINVAL for text that is no endpoint, EPROTONOSUPPORT, ENOCOMPATPROTO, EADDRINUSE, EADDRNOTAVAIL,
    /// ENODEV for an unknown interface or host, ENOENT, EACCES, ENAMETOOLONG for ipc, EMTHREAD without
    /// I/O threads, ETERM, ENOTSOCK.
    pub fn bind(&self, endpoint: &str) -> Result<()> {
        let inner = &*self.inner;
        self.check_open()?;
        let parsed = Endpoint::parse_bind(endpoint)?;
        let id = next_id();
        if let Endpoint::Inproc(name) = &parsed {
            self.check_inproc()?;
            let name = name.clone();
            inner.context.names().bind(&name, self.side(id))?;
            return self
                .bond(id, endpoint.to_owned(), BondKind::InprocBind)
                .inspect_err(|_| inner.context.names().unbind(id));
        }
        let options = lock(&inner.options).clone();
        let pool = inner.context.pool()?;
        let thread = Arc::clone(pool.choose(options.affinity)?);
        let (listener, resolved) = Listener::bind(&parsed, &options).inspect_err(|error| {
            let text = endpoint
                .split_once("://")
                .map_or(endpoint, |(_, rest)| rest);
            let number = error.errno().0 as u32;
            let monitor = &inner.port.monitor;
            monitor.emit(EventKind::BindFailed, number, text, || {
                Ends::bound(endpoint)
            });
        })?;
        let fd = std::os::fd::AsRawFd::as_raw_fd(&listener) as u32;
        let monitor = &inner.port.monitor;
        monitor.emit(EventKind::Listening, fd, &resolved, || {
            Ends::bound(&resolved)
        });
        let config = self.session_config(id, &resolved, options);
        let acceptor = Acceptor::new(listener, config, thread, pool);
        self.bond(id, resolved, BondKind::Bind(Arc::clone(&acceptor)))
            .inspect_err(|_| acceptor.close(Some(Instant::now())))?;
        acceptor.start();
        Ok(())
    }

    /// Connects to an endpoint. The connection itself is made, and made again, in the background.
    ///
    /// # Errors
    /// EINVAL, EPROTONOSUPPORT, ENOCOMPATPROTO, ENAMETOOLONG, EMTHREAD, ETERM, ENOTSOCK; EADDRINUSE if
    /// CONNECT_ROUTING_ID names a live peer.
    pub fn connect(&self, endpoint: &str) -> Result<()> {
        let inner = &*self.inner;
        self.check_open()?;
        let parsed = Endpoint::parse_connect(endpoint)?;
        use SocketType::{Dealer, Pub, Req, Sub};
        let once = matches!(inner.kind, Dealer | Sub | Pub | Req);
        let is_inproc = matches!(parsed, Endpoint::Inproc(_));
        if once && !is_inproc && self.is_connected_to(endpoint) {
            return Ok(()); // a second connection to the same place would halve its share, not double it
        }
        if let Some(name) = &lock(&inner.options).connect_routing_id {
            inner.port.check_free(name)?;
        }
        let id = next_id();
        if let Endpoint::Inproc(name) = &parsed {
            self.check_inproc()?;
            let side = self.side(id);
            lock(&inner.options).connect_routing_id = None;
            self.bond(id, endpoint.to_owned(), BondKind::InprocConnect)?;
            inner.context.names().connect(name, side);
            if inner.port.is_closed() {
                inner.context.names().forget(&inner.port); // the close came too early to do it
            }
            return Ok(());
        }
        let mut options = lock(&inner.options).clone();
        if matches!(parsed, Endpoint::Tcp(_)) {
            proxy(&options)?;
        }
        if inner.kind == SocketType::Stream {
            // The application shall know the connection's name before there is one, by ROUTING_ID.
            let name = options
                .connect_routing_id
                .get_or_insert_with(|| inner.port.automatic_id().to_vec())
                .clone();
            lock(&inner.options).routing_id = name;
        }
        let pool = inner.context.pool()?;
        let thread = Arc::clone(pool.choose(options.affinity)?);
        let config = self.session_config(id, endpoint, options);
        let session = Session::connecting(&config, parsed, thread)?;
        lock(&inner.options).connect_routing_id = None; // it is for one connect
        let kind = BondKind::Connect(Arc::clone(&session));
        self.bond(id, endpoint.to_owned(), kind)
            .inspect_err(|_| session.abandon())?;
        session.start();
        Ok(())
    }

    /// Ends a bind, and the connections accepted through it. The address is free when this returns.
    ///
    /// # Errors
    /// ENOENT if the socket is not bound there: give the text of LAST_ENDPOINT.
    pub fn unbind(&self, endpoint: &str) -> Result<()> {
        self.end_endpoint(endpoint)
    }

    /// Ends a connect; what was queued for it is sent within LINGER.
    ///
    /// # Errors
    /// ENOENT if the socket is not connected there.
    pub fn disconnect(&self, endpoint: &str) -> Result<()> {
        self.end_endpoint(endpoint)
    }

    fn end_endpoint(&self, endpoint: &str) -> Result<()> {
        let inner = &*self.inner;
        self.check_open()?;
        let bond = {
            let mut bonds = lock(&inner.bonds);
            let position = bonds
                .list
                .iter()
                .position(|bond| bond.address == endpoint)
                .or_else(|| {
                    let parsed = Endpoint::parse_bind(endpoint).ok()?;
                    let same = bound_text(&parsed, &lock(&inner.options))?;
                    bonds.list.iter().position(|bond| bond.address == same)
                });
            match position {
                Some(position) => bonds.list.remove(position),
                None => {
                    let known: Vec<&str> = bonds
                        .list
                        .iter()
                        .map(|bond| bond.address.as_str())
                        .collect();
                    let known = if known.is_empty() {
                        "no endpoint".to_owned()
                    } else {
                        known.join(", ")
                    };
                    return Err(Error::new(
                        Errno::NOENT,
                        format!("the socket has no endpoint {endpoint}; it has {known}"),
                    ));
                }
            }
        };
        let deadline = inner.linger_deadline();
        match &bond.kind {
            BondKind::Bind(acceptor) => {
                acceptor.close(deadline);
                inner.port.detach_endpoint(bond.id, deadline);
            }
            BondKind::Connect(session) => {
                session.leave();
                inner.port.detach_endpoint(bond.id, deadline);
                session.end_by(deadline);
            }
            BondKind::InprocBind => inner.context.names().unbind(bond.id),
            BondKind::InprocConnect => {
                inner.context.names().disconnect(bond.id);
                inner.port.detach_endpoint(bond.id, deadline);
                inner.port.forget_endpoint(bond.id);
            }
        }
        inner.tend();
        Ok(())
    }

    fn check_inproc(&self) -> Result<()> {
        if self.inner.kind == SocketType::Stream {
            return Err(Error::new(
                Errno::NOCOMPATPROTO,
                "STREAM speaks to programs that know no ZeroMQ, over tcp or ipc; inproc has none",
            ));
        }
        Ok(())
    }

    fn is_connected_to(&self, endpoint: &str) -> bool {
        lock(&self.inner.bonds)
            .list
            .iter()
            .any(|bond| bond.address == endpoint && matches!(bond.kind, BondKind::Connect(_)))
    }

    /// Enters an endpoint. ENOTSOCK if the socket was closed in the meantime, which then does not end it.
    fn bond(&self, id: u64, address: String, kind: BondKind) -> Result<()> {
        let mut bonds = lock(&self.inner.bonds);
        if self.inner.port.is_closed() {
            return Err(closed());
        }
        bonds.last_endpoint.clone_from(&address);
        bonds.list.push(Bond { id, address, kind });
        Ok(())
    }

    fn side(&self, endpoint: u64) -> Side {
        let options = lock(&self.inner.options);
        Side {
            port: Arc::clone(&self.inner.port),
            endpoint,
            sndhwm: options.sndhwm,
            rcvhwm: options.rcvhwm,
            conflate: options.conflates(self.inner.kind),
            routing_id: Frame::from(&options.routing_id[..]),
            hello: Frame::from(&options.hello_msg[..]),
            farewell: Frame::from(&options.disconnect_msg[..]),
            peer_id: Frame::from(options.connect_routing_id.as_deref().unwrap_or_default()),
        }
    }

    fn session_config(
        &self,
        endpoint: u64,
        address: &str,
        options: SocketOptions,
    ) -> SessionConfig {
        SessionConfig {
            port: Arc::clone(&self.inner.port),
            options: Arc::new(options),
            endpoint,
            address: address.into(),
            max_message: self.inner.context.with_options(|options| options.max_msgsz),
            tally: Arc::clone(self.inner.context.tally()),
        }
    }
}
