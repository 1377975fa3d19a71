//! What people and machines read of a handmade three-rung run.

mod chaos;
mod explained;
mod ladder;
mod made;
mod page;
mod text;
