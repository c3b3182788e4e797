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

/// Enters, and is admitted at once.
fn come(places: &mut Places, origin: &Origin) -> Result<Placement, NoPlace> {
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
    // Newcomers of the same address and of another one: the oldest of the address with most goes.
    let entered = [tcp(1), tcp(2)].map(|origin| places.enter(&origin).unwrap());
    let displaced = entered.map(|placement| placement.displaced);
    assert_eq!(displaced, [Some(silent[0]), Some(silent[1])]);
    for placement in entered {
        assert_eq!(
            places.admit(placement.number, busy).unwrap().displaced,
            None
        );
    }
    assert_eq!(
        places.enter(&unix(1)).unwrap().displaced,
        None,
        "a lobby of its own"
    );
    assert!(places.admit(silent[0], busy).is_err(), "it was displaced");
}

/// Silent connections of many addresses, one of each: the one that came last stays longest,
/// whatever its address.
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

/// An address that connects fast displaces only its own connections.
#[test]
fn a_flood_drowns_itself_alone() {
    let mut places = places(8, 4);
    let good = places.enter(&tcp(2)).unwrap().number;
    for _ in 0..100 {
        let placement = places.enter(&tcp(1)).unwrap();
        assert_ne!(placement.displaced, Some(good));
        if let Some(gone) = placement.displaced {
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
        Err(NoPlace(7)),
        "an eighth is for unix sockets"
    );
    let newcomers = (0..4).map(|_| come(&mut places, &tcp(2)));
    let displaced: Vec<bool> = newcomers
        .map(|placement| placement.is_ok_and(|placement| placement.displaced.is_some()))
        .collect();
    assert_eq!(displaced, [true, true, true, false]);
    assert_eq!(come(&mut places, &unix(1)).unwrap().displaced, None);
    // The eighth for unix sockets is full, so a connection of the address with most goes.
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
    assert_eq!(places.admit(newcomer, idle(59)), Err(NoPlace(4)));
    let placement = places.admit(newcomer, idle(60)).unwrap();
    assert_eq!(placement.displaced, Some(list[2]));
}

/// A client of a unix socket keeps its place, however idle: it may be a mounted disk.
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

/// Threads that do not return from a device hold no place, but their number is bounded.
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

    /// No limit is exceeded, TCP never takes the last eighth, and a displaced client was idle or
    /// belongs to a peer that keeps as many places as the newcomer's peer.
    #[test]
    fn no_bound_is_broken(steps in steps()) {
        let mut places = places(9, 3);
        for step in steps {
            let numbers: Vec<u64> = places.by_number.keys().copied().collect();
            let pick = |which: usize| numbers.get(which).copied().unwrap_or(0);
            match step {
                Step::Enter(peer) => {
                    let origin = if peer < 3 { unix(peer.into()) } else { tcp(peer) };
                    if let Ok(placement) = places.enter(&origin) {
                        prop_assert!(placement.displaced != Some(placement.number));
                    }
                }
                Step::Admit(which, idle) => {
                    let number = pick(which);
                    let before = places.by_number.clone();
                    let time = Duration::from_secs(idle);
                    match places.admit(number, |_| time) {
                        Ok(Placement { displaced: Some(gone), .. }) => {
                            let of = |peer| places.count(|place| place.stage == Stage::Service && place.peer == peer);
                            let (lost, won) = (before[&gone].peer, before[&number].peer);
                            prop_assert!(time >= SPARE || of(lost) >= of(won));
                            prop_assert!(before[&gone].stage == Stage::Service);
                        }
                        Ok(_) => prop_assert!(before[&number].stage == Stage::Lobby),
                        Err(_) => prop_assert!(before.len() == places.by_number.len()),
                    }
                }
                Step::Leave(which) => places.leave(pick(which)),
            }
            let tcp = |place: &Place| place.stage == Stage::Service && !place.unix;
            prop_assert!(places.serving() <= 9);
            prop_assert!(places.count(tcp) <= 8);
        }
    }
}
