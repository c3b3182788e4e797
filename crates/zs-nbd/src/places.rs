//! Who has a place, and who has to make room: decisions alone, without clock or socket.
//!
//! Data model: `a newcomer -> a place in the lobby, for its handshake -> a place in service ->
//! none`.
//!
//! The lobby never turns anybody away: when it is full, the connection that has been there longest
//! makes room, of the peer with most of them. In service a peer with fewer places displaces one of
//! the peer with most, until they are even; and any newcomer displaces a client of TCP that has
//! moved no byte for long. Nobody else loses a place to others, and no client of a unix socket
//! loses one to TCP.

use crate::peer::{Origin, Peer};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// The number of places.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    /// In service.
    pub(crate) service: usize,
    /// In the lobby: so many for unix sockets, and as many for TCP.
    pub(crate) lobby: usize,
    /// A client of TCP in service that moved nothing for so long may be displaced by anybody.
    pub(crate) spare: Duration,
}

impl Capacity {
    /// Places in service that TCP may take: an eighth is left to unix sockets.
    fn tcp(&self) -> usize {
        self.service - self.service / 8
    }
}

/// There is no place in service: how many are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full(pub(crate) usize);

/// A place that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) number: u64,
    /// The connection that has to go for it.
    pub(crate) displaced: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Lobby,
    Service,
    /// Displaced, and not gone yet.
    Leaving,
}

#[derive(Clone, Copy, Debug)]
struct Seat {
    peer: Peer,
    unix: bool,
    stage: Stage,
}

/// All places, by the numbers of connections; a lower number is an older connection.
#[derive(Debug)]
pub(crate) struct Places {
    capacity: Capacity,
    last: u64,
    seats: BTreeMap<u64, Seat>,
}

impl Places {
    pub(crate) fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            last: 0,
            seats: BTreeMap::new(),
        }
    }

    /// Lets a newcomer into the lobby.
    ///
    /// # Errors
    /// [`Full`] if as many connections as there are places were displaced and are still not gone.
    pub(crate) fn enter(&mut self, origin: &Origin) -> Result<Given, Full> {
        let leaving = self.count(|seat| seat.stage == Stage::Leaving);
        if leaving >= self.capacity.service + self.capacity.lobby {
            return Err(Full(leaving));
        }
        let unix = origin.is_unix();
        let waits = |seat: &Seat| seat.stage == Stage::Lobby && seat.unix == unix;
        let displaced = match self.count(waits) >= self.capacity.lobby.max(1) {
            false => None,
            true => self.largest(waits).and_then(|(peer, _)| {
                let mut oldest = self.seats.iter();
                let found = oldest.find(|(_, seat)| waits(seat) && seat.peer == peer);
                found.map(|(number, _)| *number)
            }),
        };
        self.last += 1;
        let number = self.last;
        self.displace(displaced);
        let seat = Seat {
            peer: origin.peer(),
            unix,
            stage: Stage::Lobby,
        };
        self.seats.insert(number, seat);
        Ok(Given { number, displaced })
    }

    /// Gives a place in service to a connection of the lobby. `idle` says how long a connection has
    /// moved nothing.
    ///
    /// # Errors
    /// [`Full`], and nothing has changed.
    pub(crate) fn admit(
        &mut self,
        number: u64,
        idle: impl Fn(u64) -> Duration,
    ) -> Result<Given, Full> {
        let Some(newcomer) = self.seats.get(&number).copied() else {
            return Err(Full(self.serving()));
        };
        let displaced = match self.may_displace(newcomer) {
            None => None,
            Some(among) => Some(self.victim(newcomer.peer, among, idle)?),
        };
        if newcomer.stage != Stage::Lobby {
            return Err(Full(self.serving()));
        }
        self.displace(displaced);
        if let Some(seat) = self.seats.get_mut(&number) {
            seat.stage = Stage::Service;
        }
        Ok(Given { number, displaced })
    }

    /// A connection is gone.
    pub(crate) fn leave(&mut self, number: u64) {
        self.seats.remove(&number);
    }

    /// Connections in service.
    pub(crate) fn serving(&self) -> usize {
        self.count(|seat| seat.stage == Stage::Service)
    }

    /// Among whom the newcomer needs room: those in service, or those of TCP alone; `None` if there
    /// is room.
    fn may_displace(&self, newcomer: Seat) -> Option<fn(&Seat) -> bool> {
        let tcp = |seat: &Seat| seat.stage == Stage::Service && !seat.unix;
        let all = |seat: &Seat| seat.stage == Stage::Service;
        let is_full = self.count(all) >= self.capacity.service;
        if newcomer.unix {
            return is_full.then_some(all);
        }
        (is_full || self.count(tcp) >= self.capacity.tcp()).then_some(tcp)
    }

    fn victim(
        &self,
        peer: Peer,
        among: fn(&Seat) -> bool,
        idle: impl Fn(u64) -> Duration,
    ) -> Result<u64, Full> {
        let own = self.count(|seat| among(seat) && seat.peer == peer);
        let greedy = self.largest(among).filter(|(_, most)| *most > own + 1);
        // A mounted disk may be idle for days; the kernel's client does not come back by itself.
        let candidates = self.seats.iter().filter(|(_, seat)| match greedy {
            Some((largest, _)) => among(seat) && seat.peer == largest,
            None => among(seat) && !seat.unix,
        });
        // Of those that are equally idle, the one that came last.
        let idlest = candidates.map(|(number, _)| (idle(*number), *number)).max();
        let spare = |(time, _): &(Duration, u64)| greedy.is_some() || *time >= self.capacity.spare;
        let found = idlest.filter(spare);
        found
            .map(|(_, number)| number)
            .ok_or_else(|| Full(self.serving()))
    }

    /// Returns the peer with most of such seats, and how many these are; of several, the one whose
    /// oldest connection is older than theirs.
    fn largest(&self, such: impl Fn(&Seat) -> bool) -> Option<(Peer, usize)> {
        let mut counts: HashMap<Peer, (usize, Reverse<u64>)> = HashMap::new();
        for (number, seat) in self.seats.iter().filter(|(_, seat)| such(seat)) {
            // Numbers come in order: the first one is the oldest.
            counts.entry(seat.peer).or_insert((0, Reverse(*number))).0 += 1;
        }
        let largest = counts.into_iter().max_by_key(|(_, rank)| *rank);
        largest.map(|(peer, (count, _))| (peer, count))
    }

    fn count(&self, such: impl Fn(&Seat) -> bool) -> usize {
        self.seats.values().filter(|seat| such(seat)).count()
    }

    fn displace(&mut self, number: Option<u64>) {
        if let Some(seat) = number.and_then(|number| self.seats.get_mut(&number)) {
            seat.stage = Stage::Leaving;
        }
    }
}

#[cfg(test)]
mod tests;
