//! What threads saw of one object's life, and whether some order of it explains everything.
//!
//! Each operation is an interval of time and what came of it. Contents are told apart by a stamp
//! that is written once, so "is there an order" has a simple answer (P. B. Gibbons, E. Korach,
//! "Testing Shared Memories", 1997). The write and the reads of one stamp make a *zone*, from their
//! first end to their last start. If it runs forward, the stamp was certainly there all that time,
//! so no two such zones may overlap; if it runs backward, the stamp was there at some moment of it,
//! so it must not lie within a forward zone of another stamp.

use std::collections::BTreeMap;

/// What came of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A new object, with this stamp.
    Inserted(u64),
    /// New contents, with this stamp.
    Wrote(u64),
    /// These contents were seen.
    Read(u64),
    /// The object was freed.
    Freed,
    /// There was no object.
    Stale,
    /// There was an object where one was to be made.
    Occupied,
    /// Somebody else was inside.
    Busy,
    /// Somebody was inside for so long: it explains another's `Busy`, and nothing else.
    Inside,
}

/// One operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Who did it.
    pub thread: usize,
    /// When it began; no two events have a moment in common.
    pub start: u64,
    /// When it had ended.
    pub end: u64,
    /// What came of it.
    pub what: What,
}

impl Event {
    fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// When one stamp, or one free, took effect and was seen.
#[derive(Debug, Clone, Copy)]
struct Zone {
    first_end: u64,
    last_start: u64,
    write: Option<(u64, u64)>,
}

impl Zone {
    fn of(event: &Event) -> Self {
        Self {
            first_end: event.end,
            last_start: event.start,
            write: None,
        }
    }

    fn is_forward(&self) -> bool {
        self.first_end < self.last_start
    }

    /// Says whether this zone, a forward one, overlaps another forward one, or contains a backward
    /// one: what certainly was there from `first_end` to `last_start` leaves no room for the other.
    fn excludes(&self, other: &Self) -> bool {
        self.first_end < other.last_start && other.first_end < self.last_start
    }
}

/// The life of one key: of one object, or one after the other.
#[derive(Debug, Clone, Default)]
pub struct History {
    events: Vec<Event>,
}

impl History {
    /// Notes an operation.
    pub fn note(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Frees during which another thread was inside.
    pub fn deferred_frees(&self) -> u64 {
        let frees = self.events.iter().filter(|event| event.what == What::Freed);
        let deferred = frees.filter(|free| {
            self.events.iter().any(|other| {
                let inside = other.what == What::Inside && other.thread != free.thread;
                inside && other.start < free.start && free.end < other.end
            })
        });
        deferred.count() as u64
    }

    /// Says whether some order explains what was seen. All operations must have ended.
    ///
    /// # Errors
    /// What no order explains.
    pub fn check(&self) -> Result<(), String> {
        for event in &self.events {
            self.check_absence(event)
                .map_err(|what| format!("{event:?}: {what}"))?;
        }
        let zones = self.zones()?;
        for (at, zone) in zones.iter().enumerate().filter(|(_, z)| z.is_forward()) {
            let mut others = zones.iter().enumerate().filter(|(other, _)| *other != at);
            if let Some((_, other)) = others.find(|(_, other)| zone.excludes(other)) {
                return Err(format!("no order explains {zone:?} and {other:?}"));
            }
        }
        Ok(())
    }

    /// Answers that say that there was no object, or one, or somebody inside.
    fn check_absence(&self, event: &Event) -> Result<(), &'static str> {
        let count = |what: fn(What) -> bool, when: &dyn Fn(&Event) -> bool| {
            let events = self.events.iter().filter(|other| what(other.what));
            events.filter(|other| when(other)).count()
        };
        let inserts = |what| matches!(what, What::Inserted(_));
        let frees = |what| matches!(what, What::Freed);
        let begun = |other: &Event| other.start < event.end;
        let ended = |other: &Event| other.end < event.start;
        match event.what {
            What::Stale if count(inserts, &ended) > count(frees, &begun) => {
                Err("there was an object all the time")
            }
            What::Occupied if count(inserts, &begun) <= count(frees, &ended) => {
                Err("there was no object at any time")
            }
            What::Busy if !self.events.iter().any(|o| o != event && o.overlaps(event)) => {
                Err("nobody else was inside")
            }
            _ => Ok(()),
        }
    }

    /// Returns a zone for each stamp, and one for each free.
    fn zones(&self) -> Result<Vec<Zone>, String> {
        let mut stamps: BTreeMap<u64, Zone> = BTreeMap::new();
        let mut zones = Vec::new();
        for event in &self.events {
            let (stamp, writes) = match event.what {
                What::Inserted(stamp) | What::Wrote(stamp) => (stamp, true),
                What::Read(stamp) => (stamp, false),
                What::Freed => {
                    zones.push(Zone::of(event));
                    continue;
                }
                _ => continue,
            };
            let zone = stamps.entry(stamp).or_insert_with(|| Zone::of(event));
            zone.first_end = zone.first_end.min(event.end);
            zone.last_start = zone.last_start.max(event.start);
            if writes {
                if zone.write.is_some() {
                    return Err(format!("stamp {stamp:#x} was written twice"));
                }
                zone.write = Some((event.start, event.end));
            }
        }
        for (stamp, zone) in &stamps {
            match zone.write {
                None => return Err(format!("{stamp:#x} was read, and written by nobody")),
                Some((start, _)) if zone.first_end < start => {
                    return Err(format!("{stamp:#x} was read before it was written"));
                }
                Some(_) => {}
            }
        }
        zones.extend(stamps.into_values());
        Ok(zones)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use What::{Busy, Freed, Inserted, Inside, Occupied, Read, Stale, Wrote};

    /// Thread 1's events, as (start, end, what).
    fn history(events: &[(u64, u64, What)]) -> History {
        let mut history = History::default();
        for &(start, end, what) in events {
            history.note(Event {
                thread: 1,
                start,
                end,
                what,
            });
        }
        history
    }

    fn holds(events: &[(u64, u64, What)]) -> bool {
        history(events).check().is_ok()
    }

    #[test]
    fn orders_that_exist_are_found() {
        let write = (10, 20, Wrote(2));
        let insert = (1, 2, Inserted(1));
        // While a write is under way, old and new may be seen; new then old may not.
        assert!(holds(&[
            insert,
            write,
            (11, 12, Read(1)),
            (13, 14, Read(2))
        ]));
        assert!(!holds(&[
            insert,
            write,
            (11, 12, Read(2)),
            (13, 14, Read(1))
        ]));
        // Reads that overlap may see either.
        assert!(holds(&[
            insert,
            write,
            (11, 15, Read(2)),
            (12, 16, Read(1))
        ]));
        assert!(!holds(&[insert, write, (21, 22, Read(1))]));
        assert!(!holds(&[insert, (3, 4, Read(2)), write]));
        assert!(!holds(&[insert, (3, 4, Read(3))]));
    }

    #[test]
    fn two_writes_at_once_have_one_order() {
        let both = [(1, 2, Inserted(1)), (10, 20, Wrote(2)), (10, 20, Wrote(3))];
        let seen = |first, second| {
            let reads = [(21, 22, Read(first)), (23, 24, Read(second))];
            holds(&[both.as_slice(), &reads].concat())
        };
        assert!(seen(2, 2) && seen(3, 3));
        assert!(!seen(2, 3) && !seen(3, 2) && !seen(1, 1));
    }

    #[test]
    fn a_free_ends_what_is_seen() {
        let life = [(1, 2, Inserted(1)), (10, 20, Freed)];
        let with = |more: &[_]| holds(&[life.as_slice(), more].concat());
        assert!(with(&[(11, 12, Read(1)), (13, 14, Stale)]));
        assert!(!with(&[(21, 22, Read(1))]));
        assert!(!with(&[(3, 4, Stale)]));
        // The next object of the word.
        let next = (30, 40, Inserted(2));
        assert!(with(&[next, (35, 36, Stale), (41, 42, Read(2))]));
        assert!(!with(&[next, (41, 42, Stale)]));
        assert!(!with(&[next, (41, 42, Read(1))]));
        assert!(with(&[next, (35, 36, Occupied)]));
        assert!(!with(&[next, (21, 22, Occupied)]));
    }

    #[test]
    fn busy_needs_somebody_inside() {
        assert!(!holds(&[(1, 2, Inserted(1)), (3, 4, Busy)]));
        assert!(holds(&[(1, 2, Inserted(1)), (3, 6, Busy), (5, 9, Inside)]));
    }

    #[test]
    fn a_free_under_a_reader_is_counted() {
        let mut life = history(&[(1, 2, Inserted(1)), (10, 20, Freed), (5, 25, Inside)]);
        assert_eq!(life.deferred_frees(), 0);
        life.events[2].thread = 2;
        assert_eq!(life.deferred_frees(), 1);
    }
}
