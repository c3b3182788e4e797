//! Words, field by field and state by state.

use super::*;

fn layouts() -> impl Iterator<Item = (PageSize, Layout, usize)> {
    PageSize::ALL.into_iter().flat_map(|page| {
        [9, 13, 20, 24, 28].map(|bits| {
            let zspages = (1_usize << bits).min(Layout::max_zspages(page));
            (page, Layout::new(page, zspages), zspages)
        })
    })
}

#[test]
fn every_field_round_trips_at_its_corners_and_leaves_the_others() {
    for (page, layout, zspages) in layouts() {
        for zspage in [0, 1, zspages as u32 - 1] {
            for slot in [0, 1, 127] {
                for slack in [0, 1, (1 << slack_bits(page)) - 1] {
                    let place = Place {
                        zspage: ZspageId::new(zspage),
                        slot: SlotIndex::new(slot),
                        slack,
                    };
                    for generation in [0, 1, u32::MAX >> (32 - layout.generation_bits().min(32))] {
                        let bits = layout.place_generation(generation) | Word::flag_bits(0x1f);
                        let word = Word::filling(&layout, place, bits);
                        assert_eq!(word.place(&layout), place);
                        assert_eq!(layout.generation_of(word), generation);
                        assert_eq!(word.flags(), 0x1f);
                        assert_eq!(word.state(), State::Filling);
                        assert_eq!((word.readers(), word.has_mover()), (0, false));
                    }
                }
            }
        }
        assert!(layout.generation_bits() >= 10);
    }
}

#[test]
fn a_full_reader_count_is_busy_and_never_wraps() {
    let (_, layout, _) = layouts().next().expect("a layout");
    let place = Place {
        zspage: ZspageId::new(3),
        slot: SlotIndex::new(5),
        slack: 7,
    };
    let mut word = Word::filling(&layout, place, 0).live();
    for readers in 1..=MAX_READERS {
        word = word
            .pinned(Target::word(WordIndex::new(0)))
            .expect("room for a reader");
        assert_eq!(word.readers(), readers);
        assert_eq!(word.place(&layout), place);
    }
    assert_eq!(
        word.pinned(Target::word(WordIndex::new(0))),
        Err(Refusal::Busy)
    );
}

#[test]
fn each_state_refuses_what_the_table_says() {
    let (_, layout, _) = layouts().next().expect("a layout");
    let filling = Word::filling(
        &layout,
        Place {
            zspage: ZspageId::new(1),
            slot: SlotIndex::new(2),
            slack: 3,
        },
        0,
    );
    let live = filling.live();
    let any = Target::word(WordIndex::new(0));
    let exclusive = live.exclusive(any).expect("alone");
    let mapped = live.exclusive(any).expect("alone").mapped();
    let moving = live.moving(any).expect("alone");
    let freeing = live
        .pinned(any)
        .and_then(|word| word.freed(any))
        .expect("live");
    let read = live.pinned(any).expect("live");
    let table = [
        (filling, Err(Refusal::Stale), Err(Refusal::Stale)),
        (freeing, Err(Refusal::Stale), Err(Refusal::Stale)),
        (
            Word::client(1, 77),
            Err(Refusal::Stale),
            Err(Refusal::Stale),
        ),
        (Word(0), Err(Refusal::Stale), Err(Refusal::Stale)),
        (exclusive, Err(Refusal::Wait), Err(Refusal::Wait)),
        (mapped, Err(Refusal::Busy), Err(Refusal::Busy)),
        (moving, Ok(()), Err(Refusal::Wait)),
        (read, Ok(()), Err(Refusal::Busy)),
        (live, Ok(()), Ok(())),
    ];
    for (word, reading, alone) in table {
        assert_eq!(word.pinned(any).map(|_| ()), reading, "{word:?}");
        assert_eq!(word.exclusive(any).map(|_| ()), alone, "{word:?}");
        assert_eq!(word.moving(any).map(|_| ()), alone, "{word:?}");
        assert_eq!(word.freed(any).map(|_| ()), reading, "{word:?}");
    }
    assert!(!freeing.is_abandoned());
    assert!(live.freed(any).expect("live").is_abandoned());
    assert!(!moving.freed(any).expect("live").is_abandoned());
    assert_eq!(Word::client(5, 99).client_payload(), 99);
    assert_eq!(Word::client(5, 99).state(), State::Client(13));
}
