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

/// How many places there are.
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

    /// The peer with most of such seats, and how many these are; of several, the one whose oldest
    /// connection is older than theirs.
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SPARE: Duration = Duration::from_secs(60);

    fn places(service: usize, lobby: usize) -> Places {
        Places::new(Capacity {
            service,
            lobby,
            spare: SPARE,
        })
    }

    fn tcp(host: u8) -> Origin {
        Origin::Tcp(format!("10.0.0.{host}:7").parse().unwrap())
    }

    fn unix(user: u32) -> Origin {
        Origin::Unix {
            user,
            process: Some(1),
        }
    }

    fn busy(_: u64) -> Duration {
        Duration::ZERO
    }

    /// Through the lobby at once.
    fn come(places: &mut Places, origin: &Origin) -> Result<Given, Full> {
        let number = places.enter(origin).unwrap().number;
        let admitted = places.admit(number, busy);
        if admitted.is_err() {
            places.leave(number);
        }
        admitted
    }

    #[test]
    fn silent_connections_make_room_for_any_newcomer() {
        let mut places = places(8, 4);
        let silent: Vec<u64> = (0..4)
            .map(|_| places.enter(&tcp(1)).unwrap().number)
            .collect();
        // Of the same address, and of another one: the oldest of those that are many goes.
        let entered = [tcp(1), tcp(2)].map(|origin| places.enter(&origin).unwrap());
        let displaced = entered.map(|given| given.displaced);
        assert_eq!(displaced, [Some(silent[0]), Some(silent[1])]);
        for given in entered {
            assert_eq!(places.admit(given.number, busy).unwrap().displaced, None);
        }
        assert_eq!(
            places.enter(&unix(1)).unwrap().displaced,
            None,
            "a lobby of its own"
        );
        assert!(places.admit(silent[0], busy).is_err(), "it was displaced");
    }

    /// Silent connections of many addresses, one of each: whoever came last stays longest, whatever its
    /// address.
    #[test]
    fn of_peers_with_as_many_the_oldest_makes_room() {
        let mut places = places(8, 4);
        let silent: Vec<u64> = (1..=4)
            .map(|host| places.enter(&tcp(host)).unwrap().number)
            .collect();
        let good = places.enter(&tcp(255)).unwrap();
        assert_eq!(good.displaced, Some(silent[0]));
        for (host, oldest) in (5..).zip(&silent[1..]) {
            places.leave(silent[0]);
            let next = places.enter(&tcp(host)).unwrap();
            assert_eq!(next.displaced, Some(*oldest));
        }
        assert!(places.admit(good.number, busy).is_ok());
    }

    /// However fast one address comes, it displaces its own connections.
    #[test]
    fn a_flood_drowns_itself_alone() {
        let mut places = places(8, 4);
        let good = places.enter(&tcp(2)).unwrap().number;
        for _ in 0..100 {
            let given = places.enter(&tcp(1)).unwrap();
            assert_ne!(given.displaced, Some(good));
            if let Some(gone) = given.displaced {
                places.leave(gone);
            }
        }
        assert!(places.admit(good, busy).is_ok());
    }

    #[test]
    fn whoever_has_less_displaces_whoever_has_most_until_they_are_even() {
        let mut places = places(8, 4);
        for _ in 0..7 {
            assert_eq!(come(&mut places, &tcp(1)).unwrap().displaced, None);
        }
        assert_eq!(
            come(&mut places, &tcp(1)),
            Err(Full(7)),
            "an eighth is for unix sockets"
        );
        let newcomers = (0..4).map(|_| come(&mut places, &tcp(2)));
        let displaced: Vec<bool> = newcomers
            .map(|given| given.is_ok_and(|given| given.displaced.is_some()))
            .collect();
        assert_eq!(displaced, [true, true, true, false]);
        assert_eq!(come(&mut places, &unix(1)).unwrap().displaced, None);
        // The owner's eighth is full: of the address with most one goes.
        assert!(come(&mut places, &unix(1)).unwrap().displaced.is_some());
        assert_eq!(places.serving(), 8);
    }

    #[test]
    fn the_idlest_goes_and_nobody_who_works() {
        let mut places = places(4, 4);
        let list = [(); 4].map(|()| come(&mut places, &tcp(1)).unwrap().number);
        let newcomer = places.enter(&tcp(1)).unwrap().number;
        let idle = |seconds| {
            move |number| match number == list[2] {
                true => Duration::from_secs(seconds),
                false => Duration::from_secs(1),
            }
        };
        assert_eq!(places.admit(newcomer, idle(59)), Err(Full(4)));
        let given = places.admit(newcomer, idle(60)).unwrap();
        assert_eq!(given.displaced, Some(list[2]));
    }

    /// However idle it is: it may be a mounted disk.
    #[test]
    fn a_client_of_a_unix_socket_makes_room_for_nobody_but_who_has_fewer() {
        let idle = |_| Duration::from_secs(1_000_000);
        let mut places = places(4, 4);
        for _ in 0..4 {
            come(&mut places, &unix(1)).unwrap();
        }
        for newcomer in [unix(1), tcp(1)] {
            let number = places.enter(&newcomer).unwrap().number;
            assert!(places.admit(number, idle).is_err(), "{newcomer:?}");
            places.leave(number);
        }
        let other = places.enter(&unix(2)).unwrap().number;
        assert!(places.admit(other, idle).unwrap().displaced.is_some());
    }

    /// Threads that do not come back from a device hold no place, and are bounded all the same.
    #[test]
    fn those_that_do_not_go_are_bounded() {
        let mut places = places(2, 2);
        let entered = (0..100).filter(|_| places.enter(&tcp(1)).is_ok()).count();
        assert_eq!(entered, 2 + 4);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Enter(u8),
        Admit(usize, u64),
        Leave(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let one = prop_oneof![
            4 => (0..6_u8).prop_map(Step::Enter),
            4 => (0..40_usize, 0..120_u64).prop_map(|(which, idle)| Step::Admit(which, idle)),
            1 => (0..40_usize).prop_map(Step::Leave),
        ];
        prop::collection::vec(one, 0..200)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever happens: no room is overfull, TCP keeps out of its eighth, a displaced one is
        /// of a peer that keeps as many as the newcomer's, or was idle.
        #[test]
        fn no_bound_is_broken(steps in steps()) {
            let mut places = places(9, 3);
            for step in steps {
                let numbers: Vec<u64> = places.seats.keys().copied().collect();
                let pick = |which: usize| numbers.get(which).copied().unwrap_or(0);
                match step {
                    Step::Enter(peer) => {
                        let origin = if peer < 3 { unix(peer.into()) } else { tcp(peer) };
                        if let Ok(given) = places.enter(&origin) {
                            prop_assert!(given.displaced != Some(given.number));
                        }
                    }
                    Step::Admit(which, idle) => {
                        let number = pick(which);
                        let before = places.seats.clone();
                        let time = Duration::from_secs(idle);
                        match places.admit(number, |_| time) {
                            Ok(Given { displaced: Some(gone), .. }) => {
                                let of = |peer| places.count(|seat| seat.stage == Stage::Service && seat.peer == peer);
                                let (lost, won) = (before[&gone].peer, before[&number].peer);
                                prop_assert!(time >= SPARE || of(lost) >= of(won));
                                prop_assert!(before[&gone].stage == Stage::Service);
                            }
                            Ok(_) => prop_assert!(before[&number].stage == Stage::Lobby),
                            Err(_) => prop_assert!(before.len() == places.seats.len()),
                        }
                    }
                    Step::Leave(which) => places.leave(pick(which)),
                }
                let tcp = |seat: &Seat| seat.stage == Stage::Service && !seat.unix;
                prop_assert!(places.serving() <= 9);
                prop_assert!(places.count(tcp) <= 8);
            }
        }
    }
}
