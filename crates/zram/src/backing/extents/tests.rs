use super::*;

fn take(extents: &mut Extents, units: u16) -> Option<Extent> {
    let mut search = extents.search(units);
    loop {
        match extents.take(&mut search) {
            Found::Run(start) => {
                return Some(Extent {
                    start,
                    units,
                    round: 0,
                });
            }
            Found::Nowhere => return None,
            Found::GoOn => {}
        }
    }
}

/// Extents of 512 units, all taken.
fn filled(units: u32) -> Extents {
    let mut extents = Extents::new(units).expect("memory");
    for _ in 0..units / 512 {
        take(&mut extents, 512).expect("room");
    }
    assert!(extents.is_full());
    extents
}

fn unit(start: u32) -> Extent {
    Extent {
        start,
        units: 1,
        round: 0,
    }
}

/// More full words in a row than one go looks at, wherever the search begins: it ends, and finds
/// what there is.
#[test]
fn a_search_over_full_groups_ends() {
    let words = 64 * 3 * LOOKS;
    let mut extents = filled(words * 64);
    for hint in [0, 1, words * 32, words * 64 - 1, words * 64] {
        extents.hint = hint;
        // Forgotten, so that each search looks for itself.
        extents.missing = u32::MAX;
        assert_eq!(take(&mut extents, 1), None, "from {hint}");
        for free in [0, 70, words * 64 - 1] {
            extents.free(unit(free));
            (extents.hint, extents.missing) = (hint, u32::MAX);
            assert_eq!(take(&mut extents, 2), None, "from {hint}");
            (extents.hint, extents.missing) = (hint, u32::MAX);
            assert_eq!(take(&mut extents, 1), Some(unit(free)), "from {hint}");
        }
    }
}

/// The last words of the largest backing: numbers are at their ends there.
#[test]
fn behind_the_last_word_of_the_largest_backing() {
    let extents = Extents::new(64).expect("memory");
    assert_eq!(extents.behind_full(u32::MAX / 64 + 1), u32::MAX);
}

/// A page is dead when its last record goes, once; and not any more when it is written again.
#[test]
fn dead_pages_are_those_that_held_something() {
    let mut extents = Extents::new(PAGE_UNITS * 9 + 5).expect("memory");
    assert_eq!(extents.take_dead(), None, "nothing was written");
    let first = take(&mut extents, 40).expect("room");
    let second = take(&mut extents, 40).expect("room");
    let rest = take(&mut extents, 200).expect("room");
    extents.free(first);
    // The second page holds some of the second record.
    assert_eq!(extents.take_dead(), Some(0..PAGE_UNITS));
    assert_eq!(extents.take_dead(), None, "taken once");
    assert_eq!(take(&mut extents, 40), None, "what is taken is nobody's");
    assert_eq!(extents.used(), 240);
    extents.put_back(0..PAGE_UNITS);
    assert_eq!(take(&mut extents, 40), Some(first));
    extents.free(first);
    extents.free(second);
    extents.free(rest);
    // Two pages are written again.
    assert_eq!(take(&mut extents, 40).map(|extent| extent.start), Some(40));
    assert_eq!(extents.take_dead(), Some(0..PAGE_UNITS));
    assert_eq!(extents.take_dead(), Some(PAGE_UNITS * 3..PAGE_UNITS * 9));
    assert_eq!(extents.take_dead(), None);
}

#[test]
fn every_unit_is_taken_once_and_found_again() {
    let mut extents = Extents::new(200).expect("memory");
    let first: Vec<_> = std::iter::from_fn(|| take(&mut extents, 7)).collect();
    assert_eq!((first.len(), extents.used()), (28, 196));
    assert_eq!(take(&mut extents, 5), None);
    assert_eq!(take(&mut extents, 4).map(|extent| extent.start), Some(196));
    extents.free(first[3]);
    extents.free(first[4]);
    assert_eq!(take(&mut extents, 15), None);
    assert_eq!(take(&mut extents, 14).map(|extent| extent.start), Some(21));
    assert_eq!(extents.used(), 200);
}

/// Random extents against a plain vector of flags: each search finds a run if and only if there is
/// one.
#[test]
fn as_a_vector_of_flags() {
    let mut random = fastrand::Rng::with_seed(5);
    for units in [1_u32, 63, 64, 65, 700, 64 * 64 + 1] {
        let mut extents = Extents::new(units).expect("memory");
        let mut taken = vec![false; units as usize];
        let mut live: Vec<Extent> = Vec::new();
        let (mut refused, mut after_a_refusal) = (0, 0);
        for _ in 0..4000 {
            if random.u8(..9) < 5 {
                let wanted = random.u16(1..=(units as u16).min(140));
                let there = taken
                    .chunk_by(|a, b| a == b)
                    .any(|run| !run[0] && run.len() >= wanted.into());
                let extent = take(&mut extents, wanted);
                assert_eq!(extent.is_some(), there, "{wanted} of {units}");
                refused += u32::from(!there);
                if let Some(extent) = extent {
                    after_a_refusal += u32::from(refused > 0);
                    let start = extent.start as usize;
                    taken[start..start + usize::from(wanted)]
                        .iter_mut()
                        .for_each(|flag| assert!(!std::mem::replace(flag, true)));
                    live.push(extent);
                }
            } else if !live.is_empty() {
                let extent = live.swap_remove(random.usize(..live.len()));
                let start = extent.start as usize;
                taken[start..start + usize::from(extent.units)].fill(false);
                extents.free(extent);
            }
        }
        assert!(refused > 0 && after_a_refusal > 0);
        assert_eq!(
            extents.used() as usize,
            taken.iter().filter(|flag| **flag).count()
        );
    }
}

/// A search that finds nothing looks at a bounded number of words each time it has the lock, and
/// the next one of this length at none.
#[test]
fn a_full_backing_is_searched_in_pieces() {
    let units = 64 * 64 * 3 * LOOKS;
    let mut extents = filled(units);
    // One unit in each word.
    for word in 0..units / 64 {
        extents.free(unit(word * 64));
    }
    let mut search = extents.search(2);
    let mut gos = 1;
    while extents.take(&mut search) == Found::GoOn {
        gos += 1;
    }
    assert!(gos >= units / 64 / LOOKS, "{gos}");
    assert_eq!(extents.take(&mut extents.search(2)), Found::Nowhere);
    assert!(matches!(
        extents.take(&mut extents.search(1)),
        Found::Run(_)
    ));
}
