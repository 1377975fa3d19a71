//! The start-up kit over real sockets.

mod control;
mod drain;
mod fake_control;
mod links;
