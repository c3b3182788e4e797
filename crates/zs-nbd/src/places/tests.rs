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
