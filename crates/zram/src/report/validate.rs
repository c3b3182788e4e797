//! Whether it adds up: everything recounted from the words.

use crate::block::content::UNIT;
use crate::block::content::{Content, FORMS, Form, KINDS, Kind};
use crate::ids::BlockIndex;
use crate::ids::as_index;
use crate::ids::wide;
use crate::store::Store;
use zs_mm::Backing;
use zsmalloc::WordIndex;

/// The figures that are counted anew.
#[derive(Default)]
struct Recount {
    kinds: [u64; KINDS],
    /// Objects by the code of their form, and their bytes.
    forms: [(u64, u64); FORMS],
    backed_bytes: u64,
}

impl<B: Backing> Store<B> {
    /// Recounts everything from the blocks' words: kinds, forms, pages of the table, references,
    /// extents; then the pool, and the arena. For tests, while no other thread uses the store;
    /// reads every block's word.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), String> {
        let mut found = Recount::default();
        let mut next = BlockIndex::default();
        while let Some(open) = self.table().next_open(next, self.table().end()) {
            for block in BlockIndex::each(open.clone()) {
                self.recount_block(block, &mut found)?;
            }
            next = open.end;
        }
        self.recount_shared(&mut found)?;
        for kind in [Kind::Same, Kind::Object, Kind::Backed, Kind::Shared] {
            let counted = self.counters.blocks(kind);
            same(&format!("{kind:?}"), counted, found.kinds[kind as usize])?;
        }
        for (code, (objects, bytes)) in (0..).zip(found.forms) {
            let form = Form::from_code(code).ok_or("a form without a code")?;
            let counted = self.counters.of_form(form);
            same(&format!("objects of {form:?}"), counted.0, objects)?;
            same(&format!("bytes of {form:?}"), counted.1, bytes)?;
        }
        let full = found.kinds[1..].iter().sum();
        same("blocks with content", self.table().counted()?, full)?;
        let (used, _) = self.writeback.usage();
        same("bytes in the backing", used, found.backed_bytes)?;
        let objects = found.forms.iter().map(|form| form.0).sum();
        same("objects", self.pool.stats().objects, objects)?;
        self.pool.validate().map_err(|error| format!("{error:?}"))
    }

    fn recount_block(&self, block: BlockIndex, found: &mut Recount) -> Result<(), String> {
        let (content, locked) = self.content(block);
        if locked || content == Content::Between {
            return Err(format!("block {block} is in use: {content:?}"));
        }
        if block >= self.end() && content != Content::Hole {
            return Err(format!("block {block} is beyond the end: {content:?}"));
        }
        found.kinds[content.kind() as usize] += 1;
        match content {
            Content::Backed(extent) => found.backed_bytes += u64::from(extent.units) * wide(UNIT),
            Content::Object(mark) if mark.picked || mark.wanted => {
                return Err(format!("block {block} is still marked: {mark:?}"));
            }
            Content::Object(mark) => self.recount_object(block.word(), mark.form, found)?,
            _ => {}
        }
        Ok(())
    }

    fn recount_shared(&self, found: &mut Recount) -> Result<(), String> {
        let Some(shares) = &self.table().shares else {
            return Ok(());
        };
        let host = self.arena().host();
        let (mut references, mut objects) = (0, 0);
        for (number, of_it) in shares.objects(host) {
            let index = self.table().shared_word(number);
            self.recount_object(index, self.form_of(index), found)?;
            references += u64::from(of_it);
            objects += 1;
        }
        let counted = shares.counts(host);
        same("references", counted.0, references)?;
        same("shared objects", counted.1, objects)?;
        same(
            "shared blocks",
            found.kinds[Kind::Shared as usize],
            references,
        )
    }

    fn recount_object(
        &self,
        index: WordIndex,
        form: Form,
        found: &mut Recount,
    ) -> Result<(), String> {
        let guard = self.pool.read(index);
        let guard = guard.map_err(|error| format!("object {index}: {error}"))?;
        let (objects, bytes) = &mut found.forms[as_index(form.code())];
        *objects += 1;
        *bytes += wide(guard.len());
        Ok(())
    }
}

fn same(what: &str, counted: u64, found: u64) -> Result<(), String> {
    if counted != found {
        return Err(format!("{what}: {counted} counted, {found} found"));
    }
    Ok(())
}
