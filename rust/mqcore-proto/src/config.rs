//! What a connection is to be, as its owner says before it begins.

use std::time::Duration;

use crate::assembly::Limits;
use crate::heartbeat::Heartbeat;
use crate::mechanism::MechanismConfig;
use crate::{Frame, SocketType};

/// What a connection is to be.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our socket's type. STREAM means raw mode: no ZMTP at all.
    pub socket_type: SocketType,
    /// Announced as `Identity` by REQ, DEALER and ROUTER; may be empty.
    pub routing_id: Frame,
    /// Our own `X-` properties. Names have 1 to 255 bytes.
    pub properties: Vec<(String, Vec<u8>)>,
    /// The security mechanism both sides must have.
    pub mechanism: MechanismConfig,
    /// Whether we are the mechanism's server. NULL has no roles.
    pub as_server: bool,
    /// What the peer may make us hold.
    pub limits: Limits,
    /// How to watch over the peer, if at all.
    pub heartbeat: Option<Heartbeat>,
    /// The time from the connection's beginning to [`Event::Ready`](crate::Event::Ready); `None` for no limit.
    pub handshake_timeout: Option<Duration>,
}

impl Config {
    /// A plain connection for a socket of `socket_type`, without heartbeats and time limits.
    pub fn new(socket_type: SocketType) -> Self {
        Self {
            socket_type,
            routing_id: Frame::empty(),
            properties: Vec::new(),
            mechanism: MechanismConfig::Null,
            as_server: false,
            limits: Limits::default(),
            heartbeat: None,
            handshake_timeout: None,
        }
    }
}
