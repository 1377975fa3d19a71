//! Hands out fencing tokens from blocks that were reserved in durable storage.
//!
//! Reserve first, use afterwards: after a crash the rest of a block is lost, never repeated. (The hi/lo scheme of
//! object-relational mappers, and the time-stamp oracle of Percolator, work alike.)

use crate::id::Token;

/// Tokens `first..=last`, reserved for one allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    first: Token,
    last: Token,
}

impl Block {
    /// The block of `size` tokens that ends at `last`; none if it is empty or out of range.
    #[must_use]
    pub fn ending_at(last: Token, size: u32) -> Option<Self> {
        let first = Token(last.0.checked_sub(u64::from(size))?.checked_add(1)?);
        (first <= last && first >= Token(1) && last <= Token::MAX).then_some(Self { first, last })
    }

    /// Its smallest token.
    #[must_use]
    pub const fn first(&self) -> Token {
        self.first
    }

    /// Its largest token.
    #[must_use]
    pub const fn last(&self) -> Token {
        self.last
    }

    const fn len(&self) -> u64 {
        self.last.0 - self.first.0 + 1
    }
}

/// A reservation that is under way; see [`TokenAllocator::begin_reserve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    round: u64,
    floor: Token,
}

impl Reservation {
    /// The block must begin above this token.
    #[must_use]
    pub const fn floor(&self) -> Token {
        self.floor
    }
}

/// A block that does not begin above everything handed out or held before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a block begins at token {first}, but tokens up to {highest} were known before")]
pub struct BlockTooLow {
    /// where the refused block begins
    pub first: Token,
    /// the largest token known before
    pub highest: Token,
}

/// Hands out tokens that only grow. It wants the next block when half of the current one is used.
#[derive(Clone, Debug, Default)]
pub struct TokenAllocator {
    current: Option<Block>,
    next: Option<Block>,
    block_len: u64,
    floor: Token,
    /// taken last, and the current block goes on right behind it
    returnable: Option<Token>,
    round: u64,
}

impl TokenAllocator {
    /// An allocator without tokens.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next token, larger than every one before; none when a block is needed first.
    pub fn take(&mut self) -> Option<Token> {
        if self.current.is_none() {
            self.current = self.next.take();
        }
        let block = self.current.as_mut()?;
        let token = block.first;
        self.floor = token;
        if token == block.last {
            self.current = self.next.take();
            self.returnable = None;
        } else {
            block.first = Token(token.0 + 1);
            self.returnable = Some(token);
        }
        Some(token)
    }

    /// Returns a token that certainly was not granted. Kept only if it was the last one taken.
    pub fn put_back(&mut self, token: Token) {
        if self.returnable.take_if(|last| *last == token).is_some()
            && let Some(block) = &mut self.current
        {
            block.first = token;
            self.floor = Token(token.0 - 1);
        }
    }

    /// Drops the tokens up to `highest`: somebody else's grants went beyond them.
    pub fn raise(&mut self, highest: Token) {
        self.floor = self.floor.max(highest);
        self.returnable = None;
        let above = |block: Block| {
            let first = block.first.max(Token(highest.0.saturating_add(1)));
            (first <= block.last).then_some(Block { first, ..block })
        };
        self.next = self.next.and_then(above);
        self.current = self.current.and_then(above).or_else(|| self.next.take());
    }

    /// Drops every token, and every block whose reservation has begun: only what is reserved from now on is used.
    pub fn discard(&mut self) {
        self.current = None;
        self.next = None;
        self.returnable = None;
        self.round += 1;
    }

    /// Whether a block should be reserved now: none is left, or half of the last one is used.
    #[must_use]
    pub fn needs_block(&self) -> bool {
        self.next.is_none() && self.current.is_none_or(|block| block.len() * 2 <= self.block_len)
    }

    /// Begins to reserve a block.
    #[must_use]
    pub const fn begin_reserve(&self) -> Reservation {
        Reservation { round: self.round, floor: self.floor }
    }

    /// Takes in a reserved block. One whose reservation began before [`discard`](Self::discard) is dropped.
    ///
    /// # Errors
    /// [`BlockTooLow`] if it does not begin above everything known: the durable storage went back.
    pub fn add(&mut self, reservation: Reservation, block: Block) -> Result<(), BlockTooLow> {
        if reservation.round != self.round {
            return Ok(());
        }
        let last = |block: &Block| block.last;
        let held = self.next.as_ref().or(self.current.as_ref()).map_or(Token::ZERO, last);
        let highest = self.floor.max(held);
        if block.first <= highest {
            return Err(BlockTooLow { first: block.first, highest });
        }
        self.block_len = block.len();
        if self.current.is_none() {
            self.current = Some(block);
        } else if self.next.is_none() {
            self.next = Some(block);
        }
        Ok(())
    }

    /// How many tokens are left.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.current.as_ref().map_or(0, Block::len) + self.next.as_ref().map_or(0, Block::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(first: u64, last: u64) -> Block {
        Block { first: Token(first), last: Token(last) }
    }

    /// The next block is asked for before the last token is used, and the change-over loses none.
    #[test]
    fn prefetches_at_half_a_block() {
        let mut tokens = TokenAllocator::new();
        assert!(tokens.needs_block());
        assert_eq!(tokens.take(), None);
        tokens.add(tokens.begin_reserve(), block(1, 4)).unwrap();
        assert!(!tokens.needs_block());
        assert_eq!((tokens.take(), tokens.take()), (Some(Token(1)), Some(Token(2))));
        assert!(tokens.needs_block());
        tokens.add(tokens.begin_reserve(), block(9, 10)).unwrap();
        assert!(!tokens.needs_block());
        let rest: Vec<_> = std::iter::from_fn(|| tokens.take()).collect();
        assert_eq!(rest, [Token(3), Token(4), Token(9), Token(10)]);
    }

    /// A reservation that began before a discard is not used after it: another instance may be beyond it.
    #[test]
    fn a_reservation_from_before_a_discard_is_dropped() {
        let mut tokens = TokenAllocator::new();
        let before = tokens.begin_reserve();
        tokens.discard();
        tokens.add(before, block(1, 10)).unwrap();
        assert_eq!(tokens.take(), None);
        tokens.add(tokens.begin_reserve(), block(11, 20)).unwrap();
        assert_eq!(tokens.take(), Some(Token(11)));
    }

    /// Durable storage that went back is noticed, not believed.
    #[test]
    fn a_block_below_known_tokens_is_refused() {
        let mut tokens = TokenAllocator::new();
        tokens.add(tokens.begin_reserve(), block(11, 20)).unwrap();
        assert!(tokens.add(tokens.begin_reserve(), block(1, 10)).is_err());
        tokens.raise(Token(30));
        assert_eq!(tokens.take(), None);
        assert_eq!(tokens.begin_reserve().floor(), Token(30));
        assert!(tokens.add(tokens.begin_reserve(), block(21, 30)).is_err());
    }

    proptest! {
        /// Whatever is taken, put back, raised and discarded, a token that was kept is never smaller than or equal to
        /// one kept before.
        #[test]
        fn kept_tokens_only_grow(steps in prop::collection::vec((0_u8..6, 0_u64..40), 1..200)) {
            let mut tokens = TokenAllocator::new();
            let mut durable = 0_u64;
            let mut kept = Token::ZERO;
            let mut waiting: Vec<(Reservation, Block)> = Vec::new();
            for (step, n) in steps {
                match step {
                    0 | 1 => if let Some(token) = tokens.take() {
                        prop_assert!(token > kept, "{token} after {kept}");
                        kept = token;
                    },
                    2 => if let Some(token) = tokens.take() {
                        prop_assert!(token > kept);
                        tokens.put_back(token);
                    },
                    3 => {
                        let reservation = tokens.begin_reserve();
                        let first = durable.max(reservation.floor().0) + 1;
                        durable = first + n % 7;
                        waiting.push((reservation, block(first, durable)));
                    }
                    4 => if let Some((reservation, block)) = waiting.pop() {
                        let _ = tokens.add(reservation, block);
                    },
                    _ => if n % 2 == 0 { tokens.discard() } else {
                        kept = kept.max(Token(kept.0 + n));
                        tokens.raise(kept);
                    },
                }
            }
        }
    }
}
