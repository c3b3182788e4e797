//! A store made from a file that may hold anything.

use super::{MAGIC, TAG_END, TAG_OBJECT, TAG_SAME, VERSION};
use crate::backing::file::BackingFile;
use crate::block::content::{ALGORITHMS, Form};
use crate::codecs::scratch::with_scratch;
use crate::error::Error;
use crate::ids::BlockIndex;
use crate::passes::scan::BlockFilter;
use crate::passes::writeback::WritebackRequest;
use crate::store::Store;
use crate::store::lock::Coded;
use crate::store::options::StoreOptions;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use zcomp::{Algorithm, Dictionary, MAX_DICTIONARY_LEN};
use zs_mm::{Backing, PageSize};
use zs_os::{AnonBacking, HOST};
use zs_sync::Host;

/// The options of a loaded store that are not in its snapshot.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SnapshotOptions {
    /// As in [`StoreOptions`].
    pub limit: Option<u64>,
    /// As in [`StoreOptions`].
    pub max_limit: Option<u64>,
    /// As in [`StoreOptions`].
    pub max_size: Option<u64>,
    /// As in [`StoreOptions`].
    pub dedup: bool,
    /// As in [`StoreOptions`].
    pub track_access: bool,
    /// As in [`StoreOptions`].
    pub threads: Option<NonZeroUsize>,
    /// As in [`StoreOptions`]: for what is written later.
    pub raw_above: Option<usize>,
    /// The largest size that is accepted, in bytes. Default: any.
    pub largest: Option<u64>,
}

impl Store {
    /// Returns the size of the store in a snapshot, in bytes. Reads no more than its head, 4 MiB at
    /// most.
    ///
    /// # Errors
    /// [`Error::Snapshot`] if the bytes are none, or damaged; [`Error::Io`].
    pub fn size_in_snapshot(from: impl Read) -> Result<u64, Error> {
        Ok(Header::read(&mut Source::new(from))?.size)
    }

    /// Makes a store from a snapshot, in private anonymous memory. Every block is decompressed
    /// once, to see that it is whole. Memory is taken for what the snapshot holds, up to the limit,
    /// not for what it claims; its dictionaries, 4 MiB at most, are there before they are counted.
    /// Wrap a file in a `BufReader`.
    ///
    /// # Errors
    /// [`Error::Snapshot`] if the bytes are none, or damaged; [`Error::Io`]; [`Error::NoMemory`] at
    /// the limit; and as for [`new`](Store::new).
    pub fn load(from: impl Read, options: &SnapshotOptions) -> Result<Self, Error> {
        Self::load_with_backing(AnonBacking::new(), &HOST, from, options)
    }

    /// Loads a snapshot like [`load`](Self::load), with a place to write blocks back to: that is
    /// done whenever the limit is reached, so that a store can be loaded which holds more than
    /// its limit.
    ///
    /// # Errors
    /// As for [`load`](Self::load) and [`set_backing`](Self::set_backing); [`Error::NoMemory`] if
    /// limit and backing are full.
    pub fn load_with_file(
        from: impl Read,
        options: &SnapshotOptions,
        file: BackingFile,
    ) -> Result<Self, Error> {
        let mut from = Source::new(from);
        let store = Self::load_header(AnonBacking::new(), &HOST, &mut from, options)?;
        store.set_backing(file)?;
        store.load_blocks(&mut from)?;
        Ok(store)
    }
}

impl<B: Backing> Store<B> {
    /// Loads a snapshot like [`load`](Store::load), in memory of another kind.
    ///
    /// # Errors
    /// As there.
    pub fn load_with_backing(
        backing: B,
        host: &'static dyn Host,
        from: impl Read,
        options: &SnapshotOptions,
    ) -> Result<Self, Error> {
        let mut from = Source::new(from);
        let store = Self::load_header(backing, host, &mut from, options)?;
        store.load_blocks(&mut from)?;
        Ok(store)
    }

    fn load_header(
        backing: B,
        host: &'static dyn Host,
        from: &mut Source<impl Read>,
        options: &SnapshotOptions,
    ) -> Result<Self, Error> {
        let header = Header::read(from)?;
        if options.largest.is_some_and(|largest| header.size > largest) {
            return Err(bad(format!(
                "a store of {} bytes is not accepted",
                header.size
            )));
        }
        let [primary, secondary @ ..] = header.algorithms;
        let (algorithm, dictionary) = primary.ok_or_else(|| bad("it has no primary algorithm"))?;
        let store = Self::with_backing(
            backing,
            host,
            StoreOptions {
                block_size: header.block_size,
                algorithm,
                dictionary,
                limit: options.limit,
                max_limit: options.max_limit,
                max_size: options.max_size,
                dedup: options.dedup,
                track_access: options.track_access,
                threads: options.threads,
                raw_above: options.raw_above,
                ..StoreOptions::new(header.size)
            },
        )?;
        for (number, codec) in (1..).zip(secondary) {
            if let Some((algorithm, dictionary)) = codec {
                store.set_secondary(number, algorithm, dictionary)?;
            }
        }
        Ok(store)
    }

    fn load_blocks(&self, from: &mut Source<impl Read>) -> Result<(), Error> {
        let (mut records, mut last) = (0_u32, None);
        let mut object = vec![0; self.block_size()];
        loop {
            let tag = from.byte()?;
            if tag == TAG_END {
                let claimed = from.u32()?;
                from.checksum()?;
                return match claimed == records {
                    true => Ok(()),
                    false => Err(bad(format!("{claimed} records claimed, {records} found"))),
                };
            }
            let block = BlockIndex::new(from.u32()?);
            if last.is_some_and(|last| block <= last) || block >= self.end() {
                return Err(bad(format!(
                    "block {} is out of order, or beyond the end",
                    block.number()
                )));
            }
            match tag {
                TAG_SAME => {
                    let pattern = u64::from_ne_bytes(from.array()?);
                    from.checksum()?;
                    if pattern != 0 && self.shown(block) < self.block_size() {
                        return Err(bad(format!(
                            "block {} goes on behind the end",
                            block.number()
                        )));
                    }
                    self.with_backed_room(|| {
                        self.put(&self.lock(block)?, block, Coded::Same(pattern))
                    })?;
                }
                TAG_OBJECT => self.load_object(from, block, &mut object)?,
                _ => return Err(bad(format!("a record with the tag {tag}"))),
            }
            last = Some(block);
            records += 1;
        }
    }

    fn load_object(
        &self,
        from: &mut Source<impl Read>,
        block: BlockIndex,
        object: &mut [u8],
    ) -> Result<(), Error> {
        let form = from.byte()?;
        let len = from.u32()? as usize;
        let form = Form::from_code(form)
            .filter(|form| match form {
                Form::Compressed(number) => self.codecs.get(*number).is_some(),
                Form::Raw | Form::Wide => true,
                Form::Padded => false,
            })
            .ok_or_else(|| {
                bad(format!(
                    "block {} has the unknown form {form}",
                    block.number()
                ))
            })?;
        let bytes = object
            .get_mut(..len)
            .filter(|bytes| !bytes.is_empty())
            .ok_or_else(|| bad(format!("block {} has {len} bytes", block.number())))?;
        from.fill(bytes)?;
        from.checksum()?;
        with_scratch(self.block_size(), |scratch| {
            self.decode(block, form, bytes, &mut scratch.block)
                .map_err(|error| bad(error.to_string()))?;
            let hidden = &scratch.block[self.shown(block)..];
            match hidden.iter().all(|byte| *byte == 0) {
                true => Ok(()),
                false => Err(bad(format!(
                    "block {} goes on behind the end",
                    block.number()
                ))),
            }
        })?;
        self.with_backed_room(|| self.put(&self.lock(block)?, block, Coded::Object(form, bytes)))
    }

    /// Stores something; at the limit what was loaded so far is written back first, if it can be.
    fn with_backed_room(&self, store: impl Fn() -> Result<(), Error>) -> Result<(), Error> {
        match self.with_room(&store) {
            Err(Error::NoMemory) => {}
            outcome => return outcome,
        }
        match self.writeback(&WritebackRequest::new(BlockFilter::All)) {
            Ok(report) => match report.first_error {
                Some(error) if report.blocks == 0 => Err(error),
                _ => store(),
            },
            Err(Error::NoBacking) => Err(Error::NoMemory),
            Err(error) => Err(error),
        }
    }
}

type Codec = Option<(Algorithm, Option<Dictionary>)>;

struct Header {
    block_size: PageSize,
    size: u64,
    algorithms: [Codec; ALGORITHMS],
}

impl Header {
    fn read(from: &mut Source<impl Read>) -> Result<Self, Error> {
        if from.array()? != MAGIC {
            return Err(bad("it does not begin as one"));
        }
        let version = from.u32()?;
        if version != VERSION {
            return Err(bad(format!(
                "version {version}: {VERSION} is the one that is read"
            )));
        }
        let block_size = from.u32()? as usize;
        let block_size = PageSize::ALL
            .into_iter()
            .find(|page| page.bytes() == block_size)
            .ok_or_else(|| bad(format!("blocks of {block_size} bytes")))?;
        let size = u64::from_le_bytes(from.array()?);
        let mut algorithms = [const { None }; ALGORITHMS];
        for codec in &mut algorithms {
            *codec = Self::read_codec(from)?;
        }
        from.checksum()?;
        Ok(Self {
            block_size,
            size,
            algorithms,
        })
    }

    fn read_codec(from: &mut Source<impl Read>) -> Result<Codec, Error> {
        let len = from.byte()? as usize;
        if len == 0 {
            return Ok(None);
        }
        let name = from.bytes(len)?;
        let name = String::from_utf8(name).map_err(|_| bad("an algorithm without a name"))?;
        let algorithm = name.parse().map_err(|error| bad(format!("{error}")))?;
        let len = from.u32()? as usize;
        if len > MAX_DICTIONARY_LEN {
            return Err(bad(format!("a dictionary of {len} bytes")));
        }
        if len == 0 {
            return Ok(Some((algorithm, None)));
        }
        let dictionary = Dictionary::from_bytes(&from.bytes(len)?)
            .map_err(|error| bad(format!("its dictionary: {error}")))?;
        Ok(Some((algorithm, Some(dictionary))))
    }
}

fn bad(what: impl Into<String>) -> Error {
    Error::Snapshot(what.into())
}

/// Bytes of a snapshot, with the checksum of the part that is being read.
struct Source<R> {
    from: R,
    hasher: crc32fast::Hasher,
}

impl<R: Read> Source<R> {
    fn new(from: R) -> Self {
        Self {
            from,
            hasher: crc32fast::Hasher::new(),
        }
    }

    fn take(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.from
            .read_exact(bytes)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => bad("it ends too early"),
                _ => Error::io("reading a snapshot")(error),
            })
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.take(bytes)?;
        self.hasher.update(bytes);
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// So many bytes; memory is taken as they come.
    fn bytes(&mut self, len: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let start = bytes.len();
            bytes.resize(len.min(start + 4096), 0);
            self.fill(&mut bytes[start..])?;
        }
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, Error> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    /// Returns the end of a part: the checksum of its bytes.
    fn checksum(&mut self) -> Result<(), Error> {
        let computed = std::mem::take(&mut self.hasher).finalize();
        let mut bytes = [0; 4];
        self.take(&mut bytes)?;
        if u32::from_le_bytes(bytes) != computed {
            return Err(bad("a checksum is wrong"));
        }
        Ok(())
    }
}
