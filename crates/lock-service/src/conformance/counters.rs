//! The durable counters over any database.

use crate::counters::{Counters as _, Database, SqlCounters};
use futures::future::join_all;
use herd_lease::{Epoch, Token};
use std::collections::BTreeSet;

/// The counters of an empty database go on where they stopped when it is opened again, a floor from elsewhere lifts
/// them, and instances that share it get different blocks.
///
/// # Panics
/// When they do not.
pub async fn counters_only_grow(database: &Database) {
    let open = || SqlCounters::connect_lazily(database);
    let counters = open();
    let (block, epoch) = counters.reserve(10, Token::ZERO).await.expect("a block");
    assert_eq!((block.first(), block.last(), epoch), (Token(1), Token(10), Epoch(0)));
    assert_eq!(counters.next_epoch(Epoch(0)).await.expect("an epoch"), Epoch(1));
    counters.note_published(Epoch(1)).await.expect("noted");
    counters.close().await;
    let counters = open();
    let (block, epoch) = counters.reserve(5, Token(3)).await.expect("a block");
    assert_eq!((block.first(), block.last(), epoch), (Token(11), Token(15), Epoch(1)));
    let (block, _) = counters.reserve(5, Token(100)).await.expect("a block");
    assert_eq!(block.first(), Token(101));
    assert_eq!(counters.next_epoch(Epoch(7)).await.expect("an epoch"), Epoch(8));
    counters.note_published(Epoch(0)).await.expect("noted");
    let (_, epoch) = counters.reserve(1, Token::ZERO).await.expect("a block");
    assert_eq!(epoch, Epoch(1), "8 was opened, and never published");
    let instances = [open(), open(), open()];
    let reserve = instances.iter().cycle().take(30).map(|counters| counters.reserve(7, Token::ZERO));
    let blocks = join_all(reserve).await.into_iter().map(|reserved| reserved.expect("a block").0);
    let firsts: BTreeSet<Token> = blocks.map(|block| block.first()).collect();
    assert!(firsts.iter().zip(firsts.iter().skip(1)).all(|(a, b)| a.0 + 7 == b.0), "{firsts:?}");
    assert_eq!(firsts.len(), 30, "a block was reserved twice");
    for counters in instances {
        counters.close().await;
    }
}
