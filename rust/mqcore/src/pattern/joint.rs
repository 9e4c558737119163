//! Two views of one state, for the types whose directions depend on each other (PAIR, REQ, REP, XPUB,
//! XSUB). Each call locks the state for its short time; commands may come through either view.

use std::sync::{Arc, Mutex};

use mqcore_proto::{Frame, Message};

use super::{Command, Halves, Incoming, Outgoing, Peer, Refusal};
use crate::pipe::PipeWriter;
use crate::sync::lock;

/// A pattern with both directions in one state. The methods are those of [`Outgoing`] and
/// [`Incoming`]; `last` is where [`Incoming::last_peer`] looks.
pub(super) trait Joint: Send + 'static {
    /// Whether peers see what was sent only after [`flush`](Self::flush).
    const HOLDS_BACK: bool = false;

    fn handle(&mut self, command: Command);
    fn check(&mut self, first: &Frame) -> Result<(), Refusal>;
    fn try_send(&mut self, message: Message) -> Result<(), (Refusal, Message)>;
    fn flush(&mut self) {}
    fn with_next_pipe(&mut self, _look: &mut dyn FnMut(&mut PipeWriter)) {}
    fn writable(&mut self) -> bool;
    fn topics(&mut self) -> usize {
        0
    }
    fn try_recv(&mut self, last: &mut Option<Arc<Peer>>) -> Result<Message, Refusal>;
    fn readable(&mut self) -> bool;
}

/// The two views of `state`.
pub(super) fn halves(state: impl Joint) -> Halves {
    let state = Arc::new(Mutex::new(state));
    let outgoing = Sending(Arc::clone(&state));
    let incoming = Receiving { state, last: None };
    (Box::new(outgoing), Box::new(incoming))
}

struct Sending<S>(Arc<Mutex<S>>);

struct Receiving<S> {
    state: Arc<Mutex<S>>,
    last: Option<Arc<Peer>>,
}

impl<S: Joint> Outgoing for Sending<S> {
    fn handle(&mut self, command: Command) {
        lock(&self.0).handle(command);
    }

    fn check(&mut self, first: &Frame) -> Result<(), Refusal> {
        lock(&self.0).check(first)
    }

    fn try_send(&mut self, message: Message) -> Result<(), (Refusal, Message)> {
        lock(&self.0).try_send(message)
    }

    fn flush(&mut self) {
        if S::HOLDS_BACK {
            lock(&self.0).flush();
        }
    }

    fn with_next_pipe(&mut self, look: &mut dyn FnMut(&mut PipeWriter)) {
        lock(&self.0).with_next_pipe(look);
    }

    fn writable(&mut self) -> bool {
        lock(&self.0).writable()
    }

    fn topics(&mut self) -> usize {
        lock(&self.0).topics()
    }
}

impl<S: Joint> Incoming for Receiving<S> {
    fn handle(&mut self, command: Command) {
        lock(&self.state).handle(command);
    }

    fn try_recv(&mut self) -> Result<Message, Refusal> {
        lock(&self.state).try_recv(&mut self.last)
    }

    fn readable(&mut self) -> bool {
        lock(&self.state).readable()
    }

    fn last_peer(&self) -> Option<&Arc<Peer>> {
        self.last.as_ref()
    }
}
