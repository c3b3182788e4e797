//! What pages of one kind have in common, learnt from some of them: zstd dictionaries.

use std::{fmt, sync::Arc};

use zstd_safe::DDict;

use crate::Error;

/// How each dictionary of zstd begins.
const MAGIC: [u8; 4] = 0xec30_a437_u32.to_le_bytes();

/// The longest dictionary, in bytes: 1 MiB.
pub const MAX_DICTIONARY_LEN: usize = 1 << 20;

/// A dictionary for [`Algorithm::Zstd`](crate::Algorithm::Zstd). Clones share its bytes, and the
/// tables to decompress with.
#[derive(Clone)]
pub struct Dictionary(Arc<Shared>);

struct Shared {
    bytes: Box<[u8]>,
    tables: DDict<'static>,
}

impl PartialEq for Dictionary {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Dictionary {}

impl Dictionary {
    /// Returns the dictionary that `bytes` are.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if they are none of zstd's, [`Error::TooLong`] above
    /// [`MAX_DICTIONARY_LEN`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let (len, max) = (bytes.len(), MAX_DICTIONARY_LEN);
        if len > max {
            return Err(Error::TooLong { len, max });
        }
        if !bytes.starts_with(&MAGIC) {
            return Err(Error::Corrupt);
        }
        // Reads its tables, and refuses what is damaged.
        let tables = DDict::try_create(bytes).ok_or(Error::Corrupt)?;
        Ok(Self(Arc::new(Shared {
            bytes: bytes.into(),
            tables,
        })))
    }

    /// Learns a dictionary of at most `max_len` bytes from samples, that lie one after the other in
    /// `samples` and are as long as `lengths` say. A hundred times as many bytes of samples as
    /// of dictionary are a good measure. Takes time: some 0.1 s a MiB of samples.
    ///
    /// # Errors
    /// [`Error::Library`] if the samples are too few or have nothing in common, [`Error::TooLong`]
    /// above [`MAX_DICTIONARY_LEN`], [`Error::Corrupt`] if the lengths are not those of the
    /// samples.
    pub fn train(samples: &[u8], lengths: &[usize], max_len: usize) -> Result<Self, Error> {
        let max = MAX_DICTIONARY_LEN;
        if max_len > max {
            return Err(Error::TooLong { len: max_len, max });
        }
        let sum = lengths
            .iter()
            .try_fold(0_usize, |sum, len| sum.checked_add(*len));
        if sum != Some(samples.len()) {
            return Err(Error::Corrupt);
        }
        let mut bytes = vec![0; max_len];
        let len = zstd_safe::train_from_buffer(&mut bytes[..], samples, lengths)
            .map_err(|code| Error::Library(zstd_safe::get_error_name(code)))?;
        Self::from_bytes(&bytes[..len])
    }

    /// Returns the dictionary's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    pub(crate) fn tables(&self) -> &DDict<'static> {
        &self.0.tables
    }

    /// Returns the number of bytes of memory that it takes, whoever shares it.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.0.bytes.len() + self.0.tables.sizeof()
    }
}

impl fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dictionary")
            .field("len", &self.as_bytes().len())
            .finish_non_exhaustive()
    }
}
