use super::{Halves, Setup, Stub};
pub(super) fn new(_setup: Setup) -> Halves {
    (Box::new(Stub), Box::new(Stub))
} // TODO
