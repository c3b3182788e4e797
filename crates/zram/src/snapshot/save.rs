//! A store written to a file.

use super::{MAGIC, TAG_END, TAG_OBJECT, TAG_SAME, VERSION};
use crate::block::content::{ALGORITHMS, Content, Form, ObjectFlags};
use crate::codecs::padding::strip;
use crate::codecs::scratch::{Scratch, with_scratch};
use crate::error::Error;
use crate::ids::BlockIndex;
use crate::ids::as_index;
use crate::ids::wide;
use crate::store::Store;
use crate::store::lock::Coded;
use std::io::Write;
use zs_mm::Backing;
use zsmalloc::WordIndex;

/// Bytes of one header or record, and their checksum.
#[derive(Debug, Default)]
struct Part(Vec<u8>);

impl Part {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn end(&mut self, to: &mut impl Write) -> Result<(), Error> {
        let checksum = crc32fast::hash(&self.0);
        self.put(&checksum.to_le_bytes());
        to.write_all(&self.0)
            .map_err(Error::io("writing a snapshot"))?;
        self.0.clear();
        Ok(())
    }
}

/// The header's figures, which the records have to follow.
#[derive(Debug, Clone, Copy)]
struct Header {
    size: u64,
    /// Algorithms by number.
    codecs: [bool; ALGORITHMS],
}

impl<B: Backing> Store<B> {
    /// Writes the store to a file, compressed as it is. Each block is as it was at some moment of
    /// the call; for a picture of one moment let nobody write meanwhile. Size and algorithms
    /// are those of the call's begin. Wrap a file in a `BufWriter`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written; what [`read`](Self::read) may answer for written-back
    /// blocks; [`Error::Busy`] during a reset, which is refused until the snapshot is written.
    pub fn snapshot(&self, mut to: impl Write) -> Result<(), Error> {
        let _here = self.attach()?;
        let mut part = Part::default();
        let header = self.put_header(&mut part);
        part.end(&mut to)?;
        let (mut records, mut next) = (0_u32, BlockIndex::default());
        let mut bytes = Vec::with_capacity(self.block_size());
        let end = BlockIndex::behind(header.size, wide(self.block_size()));
        while let Some(open) = self.table().next_open(next, end) {
            for block in BlockIndex::each(open.clone()) {
                if self.put_block(block, header, &mut part, &mut bytes)? {
                    records += 1;
                    part.end(&mut to)?;
                }
            }
            next = open.end;
        }
        part.put(&[TAG_END]);
        part.put(&records.to_le_bytes());
        part.end(&mut to)?;
        to.flush().map_err(Error::io("writing a snapshot"))
    }

    fn put_header(&self, part: &mut Part) -> Header {
        let mut header = Header {
            size: self.size(),
            codecs: [false; ALGORITHMS],
        };
        part.put(&MAGIC);
        part.put(&VERSION.to_le_bytes());
        part.put(&(self.block_size() as u32).to_le_bytes());
        part.put(&header.size.to_le_bytes());
        for (number, is_set) in (0..).zip(&mut header.codecs) {
            let Some(codec) = self.codecs.get(number) else {
                part.put(&[0]);
                continue;
            };
            *is_set = true;
            let name = codec.algorithm.to_string();
            let dictionary = codec
                .dictionary
                .as_ref()
                .map_or(&[][..], |one| one.as_bytes());
            part.put(&[name.len() as u8]);
            part.put(name.as_bytes());
            part.put(&(dictionary.len() as u32).to_le_bytes());
            part.put(dictionary);
        }
        header
    }

    /// Writes the record of a block; false if it is a hole.
    fn put_block(
        &self,
        block: BlockIndex,
        header: Header,
        part: &mut Part,
        bytes: &mut Vec<u8>,
    ) -> Result<bool, Error> {
        if self.content(block) == (Content::Hole, false) {
            return Ok(false);
        }
        let Some(lock) = self.lock_if_open(block)? else {
            return Ok(false);
        };
        bytes.clear();
        let form = match lock.content() {
            Content::Hole | Content::Between => return Ok(false),
            Content::Same(pattern) => {
                bytes.extend_from_slice(&pattern.to_ne_bytes());
                Form::Wide
            }
            Content::Object(_) => self.copy_object(block.word(), bytes)?,
            Content::Shared(number) => self.copy_object(self.table().shared_word(number), bytes)?,
            Content::Backed(extent) => {
                let record = self.read_record(block, extent)?;
                let (form, inner) = strip(record.form, record.bytes());
                bytes.extend_from_slice(inner);
                form
            }
        };
        drop(lock);
        let start = block.start(wide(self.block_size()));
        let shown = (header.size - start).min(wide(self.block_size())) as usize;
        let is_known = match form {
            Form::Compressed(number) => header.codecs[as_index(number)],
            Form::Raw | Form::Wide | Form::Padded => true,
        };
        if is_known && shown == self.block_size() {
            put_record(part, block, form, bytes);
            return Ok(true);
        }
        // A store that grows shows more of its last block, and an algorithm that came later is not
        // in the header.
        with_scratch(self.block_size(), |scratch| {
            let Scratch {
                block: plain,
                coded,
                ..
            } = scratch;
            self.decode(block, form, bytes, plain)?;
            plain[shown..].fill(0);
            match self.code(0, plain, coded)? {
                Coded::Same(pattern) => {
                    put_record(part, block, Form::Wide, &pattern.to_ne_bytes());
                }
                Coded::Object(form, bytes) => put_record(part, block, form, bytes),
            }
            Ok(true)
        })
    }

    /// Returns an object's bytes, and its form. Does not count as an access.
    fn copy_object(&self, index: WordIndex, bytes: &mut Vec<u8>) -> Result<Form, Error> {
        let guard = self.read_pinned(index)?;
        let word = self.pool.look_at(index).ok_or(zsmalloc::Error::Stale)?;
        let spans = guard.spans();
        bytes.extend_from_slice(spans.first);
        bytes.extend_from_slice(spans.second);
        let form = ObjectFlags::of(word.client_bits(&self.pool.layout())).form;
        let (form, len) = {
            let (form, inner) = strip(form, bytes);
            (form, inner.len())
        };
        bytes.truncate(len);
        Ok(form)
    }
}

fn put_record(part: &mut Part, block: BlockIndex, form: Form, bytes: &[u8]) {
    if form == Form::Wide {
        part.put(&[TAG_SAME]);
        part.put(&block.number().to_le_bytes());
        part.put(bytes);
        return;
    }
    part.put(&[TAG_OBJECT]);
    part.put(&block.number().to_le_bytes());
    part.put(&[form.code()]);
    part.put(&(bytes.len() as u32).to_le_bytes());
    part.put(bytes);
}
