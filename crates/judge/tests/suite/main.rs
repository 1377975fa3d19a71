//! The judge from outside: handmade histories in, verdicts out.

mod assumptions;
mod claims;
mod counting;
mod made;
mod outcome;
