//! Row M12: an attribute was lost in a move. What an object has beside its bytes lies in its word:
//! length, the client's flags, the generation.

use super::{arena, move_frames, owned, settled};
use zs_mm::{MigrateMode, PageSize};
use zs_model::{SlotTable, pattern};
use zsmalloc::{ClientBits, Pool, PoolOptions, Word, WordIndex};

#[test]
fn m12_flags_generation_and_length_survive() {
    for page in PageSize::ALL {
        let arena = arena(page);
        let options = PoolOptions::named("words");
        let pool = Pool::with_client(&arena, options, |_, _| Ok(SlotTable::new(64)));
        let pools = [pool.expect("a pool")];
        let [pool] = &pools;
        let bits = |index: u32| ClientBits {
            flags: index as u8 % 32,
            generation: 1000 + index,
        };
        for index in 0..64 {
            let bytes = pattern(index.into(), 1 + index as usize * page.bytes() / 64);
            let empty = pool.client().get(WordIndex::new(index));
            pool.store(WordIndex::new(index), empty, bits(index), &bytes)
                .expect("room");
        }
        let words = || (0..64).map(|index| pool.client().get(WordIndex::new(index)));
        let before: Vec<Word> = words().collect();
        for zone in [2, 1, 0] {
            let frames = owned(&arena);
            let (report, _) = move_frames(&arena, &frames, &[pool], MigrateMode::Sync, Some(zone));
            assert_eq!(report.moved, frames.len() as u64);
            assert!(words().eq(before.iter().copied()), "a move touches no word");
            for index in 0..64 {
                let guard = pool.read(WordIndex::new(index)).expect("live");
                let bytes = pattern(index.into(), 1 + index as usize * page.bytes() / 64);
                assert_eq!([guard.spans().first, guard.spans().second].concat(), bytes);
                drop(guard);
                let (word, wanted) = (pool.client().get(WordIndex::new(index)), bits(index));
                assert_eq!(word.flags(), wanted.flags);
                let generation = pool.layout().generation_of(word);
                let mask = u32::MAX >> (32 - pool.layout().generation_bits().min(32));
                assert_eq!(generation, wanted.generation & mask);
            }
            settled(&arena, &pools);
        }
    }
}
