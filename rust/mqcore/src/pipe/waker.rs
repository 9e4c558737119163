//! How one end of a pipe calls the owner of the other.

use std::sync::Arc;

/// Somebody who owns pipe ends and wants to hear when there is something to do.
///
/// Called on the thread of the other end, possibly under its locks: an implementation notes the token
/// and returns; it never waits and never calls back into a pipe of the caller.
pub trait Wake: Send + Sync {
    /// There is work for what the owner named `token`.
    fn wake(&self, token: u64);
}

/// Whom to call, and the name the owner gave to this end.
#[derive(Clone)]
pub struct Waker {
    target: Arc<dyn Wake>,
    token: u64,
}

impl Waker {
    /// A waker that calls `target.wake(token)`.
    pub fn new(target: Arc<dyn Wake>, token: u64) -> Self {
        Self { target, token }
    }

    /// Calls the owner.
    #[inline]
    pub fn wake(&self) {
        self.target.wake(self.token);
    }
}
