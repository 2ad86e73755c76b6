//! Everything that lets Pointsman be tried and tested without Discord, GitHub or a cluster.
//!
//! [`estate`] is what the runbooks work on. Only `app` and the tests import this room.

pub mod estate;
//! The models of the outside world, for the tests and for trying Pointsman without accounts anywhere.
//! Only `app` and the tests import this room; it imports `domain` and `clock`.

pub mod discord;
