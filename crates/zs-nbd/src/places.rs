//! The limited places for connections, and the choice of a client to displace. Decisions only: no
//! clock, no socket.
//!
//! Data model: `new connection -> place in the lobby, for its handshake -> place in service ->
//! gone`.
//!
//! The lobby refuses no connection. When it is full, the peer with the most connections in it loses
//! its oldest one. In service, a peer with fewer places displaces a client of the peer with the
//! most, until both have equally many. Any new client may displace a TCP client that was idle for
//! long. No other client loses its place, and a client of a unix socket never loses it to TCP.

use crate::peer::{Origin, Peer};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// The number of places.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    /// In service.
    pub(crate) service: usize,
    /// In the lobby: this many for unix sockets, and the same number for TCP.
    pub(crate) lobby: usize,
    /// The idle time after which any new client may displace a TCP client.
    pub(crate) spare: Duration,
}

impl Capacity {
    /// Returns the most places in service for TCP: an eighth is reserved for unix sockets.
    fn tcp(&self) -> usize {
        self.service - self.service / 8
    }
}

/// No place is free. Holds the number of places taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoPlace(pub(crate) usize);

/// A place that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) number: u64,
    /// The connection that is displaced.
    pub(crate) displaced: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Lobby,
    Service,
    /// Displaced, but its threads have not ended yet.
    Leaving,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    peer: Peer,
    unix: bool,
    stage: Stage,
}

/// All places by connection number. A lower number is an older connection.
#[derive(Debug)]
pub(crate) struct Places {
    capacity: Capacity,
    last: u64,
    by_number: BTreeMap<u64, Place>,
}

impl Places {
    pub(crate) fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            last: 0,
            by_number: BTreeMap::new(),
        }
    }

    /// Gives a new connection a place in the lobby.
    ///
    /// # Errors
    /// [`NoPlace`] if the displaced connections that have not ended are as many as all places.
    pub(crate) fn enter(&mut self, origin: &Origin) -> Result<Placement, NoPlace> {
        let leaving = self.count(|place| place.stage == Stage::Leaving);
        if leaving >= self.capacity.service + self.capacity.lobby {
            return Err(NoPlace(leaving));
        }
        let unix = origin.is_unix();
        let waits = |place: &Place| place.stage == Stage::Lobby && place.unix == unix;
        let displaced = match self.count(waits) >= self.capacity.lobby.max(1) {
            false => None,
            true => self.largest(waits).and_then(|(peer, _)| {
                let mut oldest = self.by_number.iter();
                let found = oldest.find(|(_, place)| waits(place) && place.peer == peer);
                found.map(|(number, _)| *number)
            }),
        };
        self.last += 1;
        let number = self.last;
        self.displace(displaced);
        let place = Place {
            peer: origin.peer(),
            unix,
            stage: Stage::Lobby,
        };
        self.by_number.insert(number, place);
        Ok(Placement { number, displaced })
    }

    /// Gives a connection of the lobby a place in service. `idle` returns the idle time of a
    /// connection.
    ///
    /// # Errors
    /// [`NoPlace`] if no client can be displaced; then nothing has changed.
    pub(crate) fn admit(
        &mut self,
        number: u64,
        idle: impl Fn(u64) -> Duration,
    ) -> Result<Placement, NoPlace> {
        let Some(newcomer) = self.by_number.get(&number).copied() else {
            return Err(NoPlace(self.serving()));
        };
        let displaced = match self.may_displace(newcomer) {
            None => None,
            Some(among) => Some(self.victim(newcomer.peer, among, idle)?),
        };
        if newcomer.stage != Stage::Lobby {
            return Err(NoPlace(self.serving()));
        }
        self.displace(displaced);
        if let Some(place) = self.by_number.get_mut(&number) {
            place.stage = Stage::Service;
        }
        Ok(Placement { number, displaced })
    }

    /// Removes a connection that has ended.
    pub(crate) fn leave(&mut self, number: u64) {
        self.by_number.remove(&number);
    }

    /// Returns the number of connections in service.
    pub(crate) fn serving(&self) -> usize {
        self.count(|place| place.stage == Stage::Service)
    }

    /// Returns the clients of which one must be displaced: all in service, or those of TCP. Returns
    /// `None` if a place is free.
    fn may_displace(&self, newcomer: Place) -> Option<fn(&Place) -> bool> {
        let tcp = |place: &Place| place.stage == Stage::Service && !place.unix;
        let all = |place: &Place| place.stage == Stage::Service;
        let is_full = self.count(all) >= self.capacity.service;
        if newcomer.unix {
            return is_full.then_some(all);
        }
        (is_full || self.count(tcp) >= self.capacity.tcp()).then_some(tcp)
    }

    fn victim(
        &self,
        peer: Peer,
        among: fn(&Place) -> bool,
        idle: impl Fn(u64) -> Duration,
    ) -> Result<u64, NoPlace> {
        let own = self.count(|place| among(place) && place.peer == peer);
        let greedy = self.largest(among).filter(|(_, most)| *most > own + 1);
        // A mounted disk may be idle for days, and the kernel's client does not reconnect. So
        // clients of unix sockets are not displaced for being idle.
        let candidates = self.by_number.iter().filter(|(_, place)| match greedy {
            Some((largest, _)) => among(place) && place.peer == largest,
            None => among(place) && !place.unix,
        });
        // Of equally idle clients the newest one is taken.
        let idlest = candidates.map(|(number, _)| (idle(*number), *number)).max();
        let spare = |(time, _): &(Duration, u64)| greedy.is_some() || *time >= self.capacity.spare;
        let found = idlest.filter(spare);
        found
            .map(|(_, number)| number)
            .ok_or_else(|| NoPlace(self.serving()))
    }

    /// Returns the peer with the most places for which `is_counted` holds, and their number. Of
    /// several peers, the one with the oldest connection is returned.
    fn largest(&self, is_counted: impl Fn(&Place) -> bool) -> Option<(Peer, usize)> {
        let mut counts: HashMap<Peer, (usize, Reverse<u64>)> = HashMap::new();
        for (number, place) in self.by_number.iter().filter(|(_, place)| is_counted(place)) {
            // Numbers come in ascending order, so the first one is the oldest.
            counts.entry(place.peer).or_insert((0, Reverse(*number))).0 += 1;
        }
        let largest = counts.into_iter().max_by_key(|(_, rank)| *rank);
        largest.map(|(peer, (count, _))| (peer, count))
    }

    fn count(&self, is_counted: impl Fn(&Place) -> bool) -> usize {
        self.by_number
            .values()
            .filter(|place| is_counted(place))
            .count()
    }

    fn displace(&mut self, number: Option<u64>) {
        if let Some(place) = number.and_then(|number| self.by_number.get_mut(&number)) {
            place.stage = Stage::Leaving;
        }
    }
}

#[cfg(test)]
mod tests;
