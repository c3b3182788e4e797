//! Whether it adds up: everything recounted from the words.

use crate::content::{Content, KINDS, Kind};
use crate::store::Store;
use crate::writeback::UNIT;
use zs_mm::Backing;

impl<B: Backing> Store<B> {
    /// Recounts everything from the blocks' words: kinds, pieces of the table, references, extents; then the pool, and the
    /// arena. For tests, while no other thread uses the store; reads every block's word.
    ///
    /// # Errors
    /// What does not hold first.
    pub fn validate(&self) -> Result<(), String> {
        let mut kinds = [0_u64; KINDS];
        let (mut shared, mut backed_bytes) = (0_u64, 0_u64);
        let mut next = 0;
        while let Some(open) = self.table().next_open(next, u32::MAX) {
            for block in open.clone() {
                let (content, locked) = self.content(block);
                if locked || content == Content::Between {
                    return Err(format!("block {block} is in use: {content:?}"));
                }
                if block >= self.blocks() && content != Content::Hole {
                    return Err(format!("block {block} is beyond the end: {content:?}"));
                }
                kinds[content.kind() as usize] += 1;
                match content {
                    Content::Shared(_) => shared += 1,
                    Content::Backed(extent) => {
                        backed_bytes += u64::from(extent.units) * UNIT as u64;
                    }
                    Content::Object(mark) if mark.picked => {
                        return Err(format!("block {block} is still picked"));
                    }
                    _ => {}
                }
            }
            next = open.end;
        }
        self.compare_kinds(&kinds)?;
        let full: u64 = kinds[1..].iter().sum();
        same("blocks with content", self.table().counted()?, full)?;
        same(
            "bytes in the backing",
            self.writeback.usage().0,
            backed_bytes,
        )?;
        let counted = self.shared_counts();
        let host = self.arena().host();
        let shares = self.table().shares.as_ref();
        let (refs, objects) = shares.map_or((0, 0), |shares| shares.recount(host));
        same("references", counted.references, shared)?;
        same("references of objects", refs, shared)?;
        same("shared objects", counted.all_objects(), objects)?;
        let own = full
            - [Kind::Same, Kind::Backed, Kind::Shared]
                .map(|kind| kinds[kind as usize])
                .iter()
                .sum::<u64>();
        same("objects", self.pool.stats().objects, own + objects)?;
        self.pool.validate().map_err(|error| format!("{error:?}"))
    }

    fn compare_kinds(&self, kinds: &[u64; KINDS]) -> Result<(), String> {
        const COUNTED: [Kind; KINDS - 1] = [
            Kind::Same,
            Kind::Wide,
            Kind::Raw,
            Kind::Backed,
            Kind::Shared,
            Kind::Compressed0,
            Kind::Compressed1,
            Kind::Compressed2,
            Kind::Compressed3,
        ];
        for kind in COUNTED {
            same(
                &format!("{kind:?}"),
                self.counters.blocks(kind),
                kinds[kind as usize],
            )?;
        }
        Ok(())
    }
}

fn same(what: &str, counted: u64, found: u64) -> Result<(), String> {
    if counted != found {
        return Err(format!("{what}: {counted} counted, {found} found"));
    }
    Ok(())
}
