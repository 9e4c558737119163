//! inproc: two sockets of one context, joined by a pipe. No thread, no codec, no reconnect.
//!
//! A name may be connected to before it is bound: the pipe exists from then on, and its far end waits here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use mqcore_proto::Frame;

use crate::error::{Errno, Error, Result};
use crate::monitor::Ends;
use crate::pattern::{Peer, PipeId};
use crate::pipe::{Bound, PipeEnd, pipe_pair};
use crate::port::{Link, Port, next_id};
use crate::sync::lock;

/// One side of an inproc connection: a socket and the options that count.
#[derive(Clone)]
pub(crate) struct Side {
    pub(crate) port: Arc<Port>,
    /// The bind or connect.
    pub(crate) endpoint: u64,
    pub(crate) sndhwm: usize,
    pub(crate) rcvhwm: usize,
    pub(crate) conflate: bool,
    /// What it calls itself.
    pub(crate) routing_id: Frame,
    /// HELLO_MSG and DISCONNECT_MSG; empty for none.
    pub(crate) hello: Frame,
    pub(crate) farewell: Frame,
    /// What it calls the other (CONNECT_ROUTING_ID); empty for whatever the other calls itself.
    pub(crate) peer_id: Frame,
}

/// A connect that found nobody yet.
struct Waiting {
    near: Side,
    near_pipe: PipeId,
    /// The near end, if it was not attached yet because the peer's name is not known.
    near_end: Option<PipeEnd>,
    far_end: PipeEnd,
    far_pipe: PipeId,
}

#[derive(Default)]
struct Table {
    bound: HashMap<String, Side>,
    waiting: HashMap<String, Vec<Waiting>>,
}

/// The inproc names of a context.
#[derive(Default)]
pub(crate) struct Names(Mutex<Table>);

/// The far side of an inproc pipe.
struct Far {
    port: Weak<Port>,
    pipe: PipeId,
}

impl Link for Far {
    fn ends(&self) -> Ends {
        Ends::default()
    }

    fn end(&self, _deadline: Option<Instant>) {
        if let Some(port) = self.port.upgrade() {
            port.forget(self.pipe);
            port.detach(self.pipe);
        }
    }
}

impl Names {
    /// Gives `name` to `side`, and joins those who wait for it. EADDRINUSE.
    pub(crate) fn bind(&self, name: &str, side: Side) -> Result<()> {
        let waiting = {
            let mut table = lock(&self.0);
            match table.bound.entry(name.to_owned()) {
                Entry::Occupied(_) => {
                    return Err(Error::new(
                        Errno::ADDRINUSE,
                        format!("inproc://{name} is bound already in this context"),
                    ));
                }
                Entry::Vacant(vacant) => {
                    vacant.insert(side.clone());
                }
            }
            table.waiting.remove(name).unwrap_or_default()
        };
        for waiting in waiting {
            join(waiting, &side);
        }
        Ok(())
    }

    /// Connects `near` to whoever has, or will have, the name.
    pub(crate) fn connect(&self, name: &str, near: Side) {
        let mut table = lock(&self.0);
        let far = table.bound.get(name).cloned();
        let outward = Bound {
            send: Some(near.sndhwm),
            receive: far.as_ref().map(|far| far.rcvhwm),
            conflate: near.conflate || far.as_ref().is_some_and(|far| far.conflate),
        };
        let inward = Bound {
            send: far.as_ref().map(|far| far.sndhwm),
            receive: Some(near.rcvhwm),
            conflate: outward.conflate,
        };
        let (mut near_end, far_end) = pipe_pair(outward, inward);
        greet(&mut near_end, &near.hello);
        let mut waiting = Waiting {
            near_pipe: next_id(),
            near_end: Some(near_end),
            far_end,
            far_pipe: next_id(),
            near,
        };
        match far {
            Some(far) => {
                drop(table);
                join(waiting, &far);
            }
            None => {
                // Who needs no name for its peer may queue for it from now on.
                if !waiting.near.port.names_peers() || !waiting.near.peer_id.is_empty() {
                    waiting.attach_near(&Weak::new(), &Frame::empty());
                }
                table
                    .waiting
                    .entry(name.to_owned())
                    .or_default()
                    .push(waiting);
            }
        }
    }

    /// Frees a name; connections that were made through it stay.
    pub(crate) fn unbind(&self, endpoint: u64) {
        lock(&self.0)
            .bound
            .retain(|_, side| side.endpoint != endpoint);
    }

    /// Forgets connects that found nobody.
    pub(crate) fn disconnect(&self, endpoint: u64) {
        let mut table = lock(&self.0);
        table.waiting.retain(|_, list| {
            list.retain(|waiting| waiting.near.endpoint != endpoint);
            !list.is_empty()
        });
    }

    /// A socket is gone: its names are free, and connects that found nobody are forgotten, but for those
    /// that carry messages for a later bind.
    pub(crate) fn forget(&self, port: &Arc<Port>) {
        let mut table = lock(&self.0);
        table.bound.retain(|_, side| !Arc::ptr_eq(&side.port, port));
        table.waiting.retain(|_, list| {
            list.retain_mut(|waiting| {
                let greeting = usize::from(!waiting.near.hello.is_empty());
                !Arc::ptr_eq(&waiting.near.port, port) || waiting.far_end.reader.queued() > greeting
            });
            !list.is_empty()
        });
    }
}

impl Waiting {
    /// Hands the near end to its socket; false if the socket refuses it.
    fn attach_near(&mut self, far: &Weak<Port>, far_id: &Frame) -> bool {
        let Some(end) = self.near_end.take() else {
            return true;
        };
        let near = &self.near;
        let wanted = if near.peer_id.is_empty() {
            far_id
        } else {
            &near.peer_id
        };
        let Some(name) = near.port.claim(wanted, self.near_pipe) else {
            return false;
        };
        let link = Far {
            port: far.clone(),
            pipe: self.far_pipe,
        };
        near.port.attach(
            peer(self.near_pipe, name),
            end,
            Arc::new(link),
            near.endpoint,
        )
    }
}

fn peer(id: PipeId, routing_id: Frame) -> Arc<Peer> {
    Arc::new(Peer {
        id,
        routing_id,
        ..Peer::default()
    })
}

/// Sends a side's HELLO_MSG.
fn greet(end: &mut PipeEnd, hello: &Frame) {
    if !hello.is_empty() {
        end.writer.write(hello.clone().into());
        end.writer.flush();
    }
}

/// Gives both ends to their sockets. A refused one is dropped, and the other sees it close.
fn join(mut waiting: Waiting, far: &Side) {
    let Some(far_name) = far.port.claim(&waiting.near.routing_id, waiting.far_pipe) else {
        return;
    };
    let attached = waiting.near_end.is_none();
    if !waiting.attach_near(&Arc::downgrade(&far.port), &far.routing_id) {
        far.port.release(&far_name, waiting.far_pipe);
        return;
    }
    if attached {
        // The near socket has its end since before the bind: now it learns who is at the other.
        let link = Far {
            port: Arc::downgrade(&far.port),
            pipe: waiting.far_pipe,
        };
        waiting.near.port.relink(waiting.near_pipe, Arc::new(link));
    }
    let mut end = waiting.far_end;
    end.reader.set_hwm(far.rcvhwm);
    end.writer.set_hwm(far.sndhwm);
    greet(&mut end, &far.hello);
    if !far.farewell.is_empty() {
        end.reader.set_epilogue(far.farewell.clone().into());
    }
    let link = Far {
        port: Arc::downgrade(&waiting.near.port),
        pipe: waiting.near_pipe,
    };
    far.port.attach(
        peer(waiting.far_pipe, far_name),
        end,
        Arc::new(link),
        far.endpoint,
    );
    if !waiting.near.port.has(waiting.near_pipe) {
        // It closed before the far side was there to be told: the pipe is read to its end, its name is free.
        far.port.forget(waiting.far_pipe);
    }
}
