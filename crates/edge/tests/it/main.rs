//! The edge between real sockets: clients on one side, fake cache nodes and a fake control plane on the other.

mod ejection;
mod errors;
#[path = "../../../service/tests/it/fake_control.rs"]
mod fake_control;
mod fake_node;
mod gate;
mod owners;
mod requests;
mod telemetry;
mod testbed;
mod writes;
