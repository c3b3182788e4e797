//! The disks that are served, and their options: arguments, and disks made of them.

use super::backing::Backing;
use super::disk::{StoreDisk, as_loaded};
use super::keeping::Files;
use super::limits::{self, Wish};
use crate::args::page_size;
use crate::failure::Failure;
use crate::output;
use crate::units::{Size, parse_size};
use clap::Args;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{BufReader, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zram::{Algorithm, BackingFile, BlockSize, Dictionary, Error, Store, StoreOptions};
use zs_os::available_memory;

/// Longest file that is read as a dictionary: none is longer than 1 MiB.
const MAX_DICTIONARY: u64 = (1 << 20) + 1;

/// The disks, and their options.
#[derive(Clone, Debug, Args)]
pub(super) struct DiskArgs {
    /// Size of the disk, as in 8G (powers of 1024) or 8GB (powers of 1000)
    #[arg(long, value_name = "SIZE", value_parser = size, required_unless_present_any = ["export", "load"], conflicts_with = "export")]
    size: Option<u64>,

    /// Instead of --size: a disk of this name and size; may be repeated. Each has its own memory,
    /// and the other options hold for each
    #[arg(long, value_name = "NAME=SIZE", value_parser = named)]
    export: Vec<Named>,

    /// Refuse all writes of clients
    #[arg(long)]
    read_only: bool,

    /// Size of a block, which is compressed as one [default: 4k]
    #[arg(long, value_name = "SIZE", value_parser = page_size(), ignore_case = true)]
    block_size: Option<BlockSize>,

    /// Algorithm that compresses blocks: lz4, lz4hc, zstd, deflate, with a level as in zstd:3, or
    /// none [default: lz4]
    #[arg(long, short, value_name = "ALGORITHM")]
    algorithm: Option<Algorithm>,

    /// Algorithm for `zs ctl recompress`; may be repeated, three at most, the strongest last
    #[arg(long, value_name = "ALGORITHM")]
    secondary: Vec<Algorithm>,

    /// For --algorithm zstd: a dictionary, as `zs ctl train` or `zstd --train` makes it
    #[arg(long, value_name = "FILE")]
    dictionary: Option<PathBuf>,

    /// Most memory of a disk, all metadata included, 2M at least; a write beyond it fails as on a
    /// full disk. Requests and replies of all clients take more, 33 to 89 MiB at most
    /// [default: the size, 1/16 of it, and 2 MiB, or the disk's share of half of the
    /// memory that is available]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    limit: Option<u64>,

    /// Blocks that compress to more bytes are stored as they are [default: 31/32 of a block]
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    raw_above: Option<u64>,

    /// Store identical blocks once
    #[arg(long)]
    dedup: bool,

    /// Remember the time of the last access of each block, for `zs ctl idle --age`; takes 8 bytes
    /// a block
    #[arg(long)]
    track_access: bool,

    /// Largest size that `zs ctl resize` can give a disk [default: 1T, or the size if that is
    /// more]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_size: Option<u64>,

    /// Block device or file that `zs ctl writeback` writes to, and that is overwritten; or auto, a
    /// file without a name in $TMPDIR or /var/tmp
    #[arg(long, value_name = "FILE|auto")]
    backing: Option<PathBuf>,

    /// Most of the backing that may be used, 512G at most; longer files and devices need it
    /// [default: all of a file or device; of auto, the size of the disk, or 512G if that is
    /// less]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, requires = "backing")]
    backing_size: Option<u64>,
}

/// A disk by name.
#[derive(Clone, Debug)]
pub(super) struct Named {
    name: String,
    size: u64,
}

/// Largest disk: offsets of files have 63 bits.
const MAX_SIZE: u64 = i64::MAX as u64;

fn size(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        0 => Err("a disk of 0 bytes holds nothing: expected a size, as in 8G".to_owned()),
        size if size > MAX_SIZE => Err(format!("the largest disk has {MAX_SIZE} bytes")),
        size if size % 512 != 0 => Err(format!(
            "{size} bytes: expected a multiple of 512, as every disk is; the next one is {}",
            size.next_multiple_of(512)
        )),
        size => Ok(size),
    }
}

fn named(text: &str) -> Result<Named, String> {
    let parts = text.rsplit_once('=');
    let (name, bytes) = parts.ok_or("expected a name and a size, as in data=8G")?;
    Ok(Named {
        name: name.to_owned(),
        size: size(bytes)?,
    })
}

/// Secondary algorithms that a store can have.
const SECONDARIES: usize = 3;

/// The most that a store can use of a backing.
const MOST_BACKING: u64 = 512 << 30;

/// Returns how long a temporary backing may become.
fn temporary_size(given: Option<u64>, disk: u64) -> u64 {
    // Too much of what was given is refused by the store, with what is allowed.
    given.unwrap_or(disk.min(MOST_BACKING))
}

impl DiskArgs {
    /// Returns the names of --export; none with --size.
    pub(super) fn names(&self) -> Vec<&str> {
        self.export.iter().map(|one| one.name.as_str()).collect()
    }

    /// Returns the disks, the default one first, with their files.
    pub(super) fn open(&self, files: &mut [Files]) -> Result<Vec<Arc<StoreDisk>>, Failure> {
        let only = Named {
            name: String::new(),
            size: self.size.unwrap_or(0),
        };
        let list = match self.export.is_empty() {
            true => std::slice::from_ref(&only),
            false => &self.export[..],
        };
        self.check(list)?;
        let dictionary = self.dictionary.as_deref().map(read_dictionary);
        let dictionary = dictionary.transpose()?;
        let least = self.block_size.unwrap_or_default().block_bytes() as u64;
        let sources = list.iter().zip(files.iter_mut());
        let sources = sources.map(|(disk, files)| files.open(disk.size > 0));
        let sources = sources.collect::<Result<Vec<_>, _>>()?;
        let wishes = list.iter().zip(&sources);
        let wishes: Vec<Wish> = wishes
            .map(|(disk, source)| self.wish(disk, source.as_ref()))
            .collect();
        let mut limits = limits::limits(&wishes, &available_memory(Path::new("/")), least);
        let mut disks = Vec::with_capacity(list.len());
        let parts = list.iter().zip(files).zip(sources).zip(&mut limits);
        for (((disk, files), source), limit) in parts {
            let mut options = self.options(disk, dictionary.clone());
            options.limit = Some(limit.bytes);
            options.max_limit = Some(limits::highest(limit.bytes, list.len()));
            let open = match (source, &files.load) {
                (Some(file), Some(path)) => self.load(disk, options, file, path)?,
                _ => self.create(disk, options)?,
            };
            disks.push(Arc::new(open));
        }
        limits::tell(&limits);
        Ok(disks)
    }

    /// Refuses what can be seen to be wrong before anything is made.
    fn check(&self, list: &[Named]) -> Result<(), Failure> {
        if list.len() > 1
            && let Some(path) = &self.backing
            && path != Path::new("auto")
        {
            let text = format!(
                "--backing {}: it can serve one disk only; --backing auto makes a file for each",
                path.display()
            );
            return Err(Failure::Usage(text));
        }
        if self.secondary.len() > SECONDARIES {
            let given = self.secondary.len();
            let text =
                format!("--secondary: {given} of them, and a disk has at most {SECONDARIES}");
            return Err(Failure::Usage(text));
        }
        let block = self.block_size.unwrap_or_default().bytes() as u64;
        let mut sizes = list.iter().map(|disk| disk.size).chain(self.max_size);
        match sizes.find_map(|size| limits::too_many_blocks(size, block)) {
            Some(text) => Err(Failure::Usage(text)),
            None => Ok(()),
        }
    }

    fn wish(&self, disk: &Named, source: Option<&fs::File>) -> Wish {
        if let Some(limit) = self.limit {
            return Wish::Given(limit);
        }
        let loaded = source.map_or(0, size_in);
        Wish::Full(StoreOptions::new(disk.size.max(loaded)).full_limit())
    }

    /// Makes a disk that begins empty.
    fn create(&self, disk: &Named, options: StoreOptions) -> Result<StoreDisk, Failure> {
        let store = Store::new(options.clone());
        let store = store.map_err(|error| failure(&error, limits::explained(&error)))?;
        for (priority, algorithm) in (1..).zip(&self.secondary) {
            let set = store.set_secondary(priority, *algorithm, None);
            set.map_err(|error| of(&format!("--secondary {algorithm}: "), &error))?;
        }
        let backing = self.backing.as_ref();
        let backing = backing.map(|path| self.backing(path, disk.size));
        let backing = backing.transpose();
        let backing = backing.map_err(|error| of(&self.backing_named(), &error))?;
        if let Some(backing) = &backing {
            let given = backing.file().and_then(|file| store.set_backing(file));
            given.map_err(|error| of(&self.backing_named(), &error))?;
        }
        let disk = StoreDisk::new(&disk.name, self.read_only, options, backing, store);
        Ok(disk)
    }

    /// Makes a disk that begins with the contents of a file.
    fn load(
        &self,
        disk: &Named,
        mut options: StoreOptions,
        file: fs::File,
        path: &Path,
    ) -> Result<StoreDisk, Failure> {
        let what = format!("--load {}: ", path.display());
        let len = file.metadata().map_or(0, |found| found.len());
        let from = BufReader::with_capacity(1 << 20, file);
        let as_loaded = as_loaded(&options, options.limit.unwrap_or(0));
        let backing = self.backing.as_ref();
        // Without a size, as much as the file may hold.
        let size = disk.size.max(len);
        let backing = backing.map(|path| self.backing(path, size)).transpose();
        let backing = backing.map_err(|error| of(&self.backing_named(), &error))?;
        let store = match &backing {
            None => Store::load(from, &as_loaded),
            Some(backing) => {
                let to = backing.file();
                let to = to.map_err(|error| of(&self.backing_named(), &error))?;
                Store::load_with_file(from, &as_loaded, to)
            }
        };
        let store = store.map_err(|error| match error {
            Error::NoMemory => Failure::Failed(format!(
                "{what}no room for it below the limit of {}: raise --limit, or add --backing auto",
                Size(options.limit.unwrap_or(0))
            )),
            other => of(&what, &other),
        })?;
        let size = store.size();
        self.agree(&store, disk.size, &what)?;
        options.size = store.size();
        let loaded = StoreDisk::new(&disk.name, self.read_only, options, backing, store);
        loaded.keep(Some(loaded.changes()));
        if loaded.store().size() != size {
            // The file has it as it was.
            loaded.note_replaced();
        }
        Ok(loaded)
    }

    /// Sees that what is asked for beside a file is what the file has; makes the disk larger if
    /// that is asked for.
    fn agree(&self, store: &Store, size: u64, what: &str) -> Result<(), Failure> {
        let refuse = |option: &str, has: &dyn std::fmt::Display| {
            let text = format!("{what}the disk in it has {has}: leave {option} out");
            Err(Failure::Failed(text))
        };
        if let Some(asked) = self.block_size
            && asked.bytes() != store.block_size()
        {
            return refuse(
                "--block-size",
                &format!("blocks of {}", Size(store.block_size() as u64)),
            );
        }
        let has: Vec<Algorithm> = store.algorithms().map(|(_, algorithm)| algorithm).collect();
        let names: Vec<String> = has.iter().map(Algorithm::to_string).collect();
        if self
            .algorithm
            .is_some_and(|asked| has.first() != Some(&asked))
        {
            return refuse("--algorithm", &names[0]);
        }
        if !self.secondary.is_empty() && has.get(1..) != Some(&self.secondary[..]) {
            return refuse("--secondary", &format!("{:?}", &names[1..]));
        }
        if size > store.size() {
            return store.resize(size).map_err(|error| of(what, &error));
        }
        if size > 0 && size < store.size() {
            // As after a resize: a service starts again with the line that it began with.
            output::note(&format!(
                "{what}its disk has {}, and is not made smaller by --size",
                Size(store.size())
            ));
        }
        Ok(())
    }

    fn options(&self, disk: &Named, dictionary: Option<Dictionary>) -> StoreOptions {
        let mut options = StoreOptions::new(disk.size);
        options.max_size = self.max_size;
        options.block_size = self.block_size.unwrap_or_default();
        options.algorithm = self.algorithm.unwrap_or(Algorithm::Lz4);
        options.dictionary = dictionary;
        options.limit = self.limit;
        let raw_above = self.raw_above;
        // What does not fit is refused by the store, with what is allowed.
        options.raw_above = raw_above.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        options.dedup = self.dedup;
        options.track_access = self.track_access;
        options
    }

    /// Returns the option and what it names, in front of an error.
    fn backing_named(&self) -> String {
        let path = self.backing.as_deref().unwrap_or(Path::new(""));
        format!("--backing {}: ", path.display())
    }

    fn backing(&self, path: &Path, disk_size: u64) -> Result<Backing, Error> {
        if path != Path::new("auto") {
            let file = BackingFile::open(path)?;
            return Ok(Backing::File(match self.backing_size {
                Some(size) => file.limited_to(size),
                None => file,
            }));
        }
        let folder = env::var_os("TMPDIR").filter(|folder| !folder.is_empty());
        Ok(Backing::Temporary {
            folder: folder.unwrap_or_else(|| OsString::from("/var/tmp")).into(),
            size: temporary_size(self.backing_size, disk_size),
        })
    }
}

/// Returns the size of the disk in a file, in bytes; 0 if it cannot be read, which is told when the
/// disk is loaded.
fn size_in(mut file: &fs::File) -> u64 {
    if !file.metadata().is_ok_and(|found| found.is_file()) {
        // What was read of a pipe is gone.
        return 0;
    }
    let size = Store::size_in_snapshot(BufReader::new(file));
    match file.rewind() {
        Ok(()) => size.unwrap_or(0),
        Err(_) => 0,
    }
}

fn of(what: &str, error: &Error) -> Failure {
    failure(error, format!("{what}{error}"))
}

/// Returns the failure of making a disk: of what is invalid, the arguments are wrong.
fn failure(error: &Error, text: String) -> Failure {
    match error {
        Error::Invalid(_) => Failure::Usage(text),
        _ => Failure::Failed(text),
    }
}

fn read_dictionary(path: &Path) -> Result<Dictionary, Failure> {
    let failed = |what: &dyn std::fmt::Display| {
        Failure::Failed(format!("--dictionary {}: {what}", path.display()))
    };
    let file = fs::File::open(path).map_err(|error| failed(&error))?;
    let dictionary = dictionary_from(file);
    dictionary.map_err(|text| failed(&text))
}

/// Returns the dictionary in a file, of which no more than the longest one is read.
pub(super) fn dictionary_from(file: fs::File) -> Result<Dictionary, String> {
    let mut bytes = Vec::new();
    let read = file.take(MAX_DICTIONARY).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    let dictionary = Dictionary::from_bytes(&bytes);
    dictionary.map_err(|_| {
        "no dictionary of zstd: expected a file that zs ctl train or zstd --train made".to_owned()
    })
}

#[cfg(test)]
mod tests;
