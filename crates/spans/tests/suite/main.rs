//! Spans as processes send them, as they stand in a run's folder, and as they are read again.

mod files;
mod made;
mod over_the_wire;
