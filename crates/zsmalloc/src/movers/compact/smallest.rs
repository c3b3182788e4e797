//! A few of many, kept in order on the stack.

/// The number of values that are kept.
const WINDOW: usize = if cfg!(zs_loom) { 4 } else { 64 };

/// The smallest few of many values, ascending.
#[derive(Debug)]
pub(super) struct Smallest<T> {
    values: [T; WINDOW],
    len: usize,
}

impl<T: Copy + Ord + Default> Smallest<T> {
    pub(super) fn new() -> Self {
        Self {
            values: [T::default(); WINDOW],
            len: 0,
        }
    }

    /// Adds a value that is not there yet; the largest goes if there are too many.
    pub(super) fn add(&mut self, value: T) {
        let Err(at) = self.values[..self.len].binary_search(&value) else {
            return;
        };
        if at == WINDOW {
            return;
        }
        let end = (self.len + 1).min(WINDOW);
        self.values.copy_within(at..end - 1, at + 1);
        self.values[at] = value;
        self.len = end;
    }

    pub(super) fn first(&self) -> Option<T> {
        self.values[..self.len].first().copied()
    }

    pub(super) fn remove(&mut self, gone: impl Fn(&T) -> bool) {
        let mut kept = 0;
        for at in 0..self.len {
            let value = self.values[at];
            if !gone(&value) {
                self.values[kept] = value;
                kept += 1;
            }
        }
        self.len = kept;
    }

    /// Returns the largest of them, if there are as many as can be remembered.
    pub(super) fn last_if_full(&self) -> Option<T> {
        (self.len == WINDOW).then(|| self.values[WINDOW - 1])
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = T> {
        self.values[..self.len].iter().copied()
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = T> {
        self.values.into_iter().take(self.len)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == WINDOW
    }
}

#[cfg(all(test, not(zs_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_are_kept_in_order() {
        let mut smallest = Smallest::new();
        for value in (0..1000_u32).rev().chain(0..10) {
            smallest.add(value);
        }
        assert_eq!(smallest.len, WINDOW);
        assert!(smallest.values.iter().copied().eq(0..WINDOW as u32));
        smallest.remove(|&value| value == 0);
        smallest.remove(|&value| value == 63);
        smallest.remove(|&value| value == 1000);
        assert_eq!((smallest.first(), smallest.len), (Some(1), WINDOW - 2));
        smallest.add(5000);
        assert_eq!(smallest.values[smallest.len - 1], 5000);
    }
}
