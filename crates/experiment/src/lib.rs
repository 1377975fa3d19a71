//! The run loop over a Testbed: warm up, drive, inject, confirm, repair, record.

pub mod testbed;
