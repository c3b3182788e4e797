//! A store written to a file.

use super::{MAGIC, TAG_END, TAG_OBJECT, TAG_SAME, VERSION};
use crate::content::{Content, Form, MAX_PRIORITY, Mark};
use crate::error::Error;
use crate::store::Store;
use std::io::Write;
use zs_mm::Backing;

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

impl<B: Backing> Store<B> {
    /// Writes the store to a file, compressed as it is. Each block is as it was at some moment of the call; for
    /// a picture of one moment let nobody write meanwhile. Wrap a file in a `BufWriter`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written; what [`read`](Self::read) may answer for written-back blocks.
    pub fn snapshot(&self, mut to: impl Write) -> Result<(), Error> {
        let mut part = Part::default();
        self.put_header(&mut part);
        part.end(&mut to)?;
        let mut records = 0_u32;
        let mut next = 0;
        let blocks = self.blocks();
        while let Some(open) = self.table().next_open(next, blocks) {
            for block in open.clone() {
                if self.put_block(block, &mut part)? {
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

    fn put_header(&self, part: &mut Part) {
        part.put(&MAGIC);
        part.put(&VERSION.to_le_bytes());
        part.put(&(self.block_size() as u32).to_le_bytes());
        part.put(&self.size().to_le_bytes());
        for number in 0..=MAX_PRIORITY {
            let Some(codec) = self.codecs.get(number) else {
                part.put(&[0]);
                continue;
            };
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
    }

    /// The record of a block; false if it is a hole.
    fn put_block(&self, block: u32, part: &mut Part) -> Result<bool, Error> {
        if self.content(block) == (Content::Hole, false) {
            return Ok(false);
        }
        let lock = self.lock(block)?;
        match lock.content() {
            Content::Hole | Content::Between => return Ok(false),
            Content::Same(pattern) => {
                part.put(&[TAG_SAME]);
                part.put(&block.to_le_bytes());
                part.put(&pattern.to_ne_bytes());
            }
            Content::Object(_) => self.put_object(block, block, part)?,
            Content::Shared(number) => {
                self.put_object(block, self.table().shared_index(number), part)?;
            }
            Content::Backed(extent) => {
                let record = self.read_record(block, extent)?;
                put_bytes(part, block, record.form, record.bytes(), &[]);
            }
        }
        Ok(true)
    }

    fn put_object(&self, block: u32, index: u32, part: &mut Part) -> Result<(), Error> {
        let guard = self.read_pinned(index)?;
        let bits = self
            .pool
            .look_at(index)
            .map(|word| word.client_bits(&self.pool.layout()));
        let form = bits.map_or(Form::Raw, |bits| Mark::of(bits).form);
        let spans = guard.spans();
        put_bytes(part, block, form, spans.first, spans.second);
        Ok(())
    }
}

fn put_bytes(part: &mut Part, block: u32, form: Form, first: &[u8], second: &[u8]) {
    part.put(&[TAG_OBJECT]);
    part.put(&block.to_le_bytes());
    part.put(&[form.code()]);
    part.put(&((first.len() + second.len()) as u32).to_le_bytes());
    part.put(first);
    part.put(second);
}
