//! The clients at the control socket: decisions alone.

use std::collections::BTreeMap;
use std::time::Instant;

/// Connections, a bounded number of them; one that does nothing makes room for a new one.
#[derive(Debug)]
pub(super) struct Seats<S> {
    most: usize,
    last: u64,
    list: BTreeMap<u64, Seat<S>>,
}

#[derive(Debug)]
struct Seat<S> {
    what: S,
    /// Since when it does nothing; `None` while a verb is done for it.
    idle: Option<Instant>,
}

impl<S> Seats<S> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            last: 0,
            list: BTreeMap::new(),
        }
    }

    /// Returns a seat for a newcomer, and who is sent away for it: the one that has done nothing
    /// for longest. `None` if all others work.
    pub(super) fn enter(&mut self, what: S, now: Instant) -> Option<(u64, Option<S>)> {
        let mut gone = None;
        if self.list.len() >= self.most {
            let idle = self.list.iter();
            let idle = idle.filter_map(|(id, seat)| seat.idle.map(|since| (since, *id)));
            let (_, idlest) = idle.min()?;
            gone = self.list.remove(&idlest).map(|seat| seat.what);
        }
        self.last += 1;
        let idle = Some(now);
        self.list.insert(self.last, Seat { what, idle });
        Some((self.last, gone))
    }

    /// A verb begins. Returns whether the seat is still there.
    pub(super) fn begin(&mut self, id: u64) -> bool {
        let seat = self.list.get_mut(&id);
        seat.map(|seat| seat.idle = None).is_some()
    }

    /// It has ended.
    pub(super) fn end(&mut self, id: u64, now: Instant) {
        if let Some(seat) = self.list.get_mut(&id) {
            seat.idle = Some(now);
        }
    }

    pub(super) fn leave(&mut self, id: u64) {
        self.list.remove(&id);
    }

    /// Verbs under way.
    pub(super) fn working(&self) -> usize {
        self.list
            .values()
            .filter(|seat| seat.idle.is_none())
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn who_does_nothing_makes_room_and_who_works_does_not() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut seats = Seats::new(2);
        assert_eq!(seats.enter('a', at(0)), Some((1, None)));
        assert_eq!(seats.enter('b', at(1)), Some((2, None)));
        assert!(seats.begin(1));
        seats.end(1, at(2));
        assert_eq!(seats.enter('c', at(3)), Some((3, Some('b'))));
        assert!(!seats.begin(2), "it is gone");
        assert!(seats.begin(1) && seats.begin(3));
        assert_eq!((seats.enter('d', at(4)), seats.working()), (None, 2));
        seats.leave(3);
        assert_eq!(seats.enter('d', at(5)), Some((4, None)));
    }
}
