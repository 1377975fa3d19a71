//! Slots that are reused, named by stamped keys so that a late answer to a reused slot is recognised.

const STAMP_MASK: u32 = 0x7fff_ffff;

/// A table of `T`: insert, get and remove in a few nanoseconds, without hashing; no allocation once it has grown.
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

struct Slot<T> {
    /// Counts the uses of this slot, 31 bits: the top bit of a key is the caller's.
    stamp: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Slab { slots: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The key: the slot's number in the low 32 bits, its stamp in the 31 above, the top bit clear.
    pub(crate) fn insert(&mut self, value: T) -> u64 {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(self.slots.len()).expect("limits keep tables below 2^32 slots");
                self.slots.push(Slot { stamp: 0, value: None });
                index
            }
        };
        let slot = &mut self.slots[index as usize];
        slot.value = Some(value);
        u64::from(slot.stamp) << 32 | u64::from(index)
    }

    pub(crate) fn get(&self, key: u64) -> Option<&T> {
        let slot = self.slots.get((key & 0xffff_ffff) as usize)?;
        if u64::from(slot.stamp) == key >> 32 { slot.value.as_ref() } else { None }
    }

    pub(crate) fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        let slot = self.slots.get_mut((key & 0xffff_ffff) as usize)?;
        if u64::from(slot.stamp) == key >> 32 { slot.value.as_mut() } else { None }
    }

    pub(crate) fn remove(&mut self, key: u64) -> Option<T> {
        let index = (key & 0xffff_ffff) as u32;
        let slot = self.slots.get_mut(index as usize)?;
        if u64::from(slot.stamp) != key >> 32 {
            return None;
        }
        let value = slot.value.take()?;
        slot.stamp = slot.stamp.wrapping_add(1) & STAMP_MASK;
        self.free.push(index);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::Slab;

    /// Goal: a key of an earlier use never reaches the slot's next tenant.
    #[test]
    fn a_stale_key_reaches_nothing() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(first & 0xffff_ffff, second & 0xffff_ffff, "the slot is reused");
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!((slab.get(second), slab.len()), (Some(&"second"), 1));
    }
}
