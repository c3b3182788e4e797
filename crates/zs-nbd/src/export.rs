//! Devices by name.

use crate::device::Device;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;

/// A device under a name that clients ask for.
#[derive(Clone)]
pub struct Export {
    name: String,
    description: String,
    device: Arc<dyn Device>,
}

impl Export {
    /// Makes a device under a name.
    ///
    /// # Errors
    /// [`InvalidExport::Text`] if the name or the description is longer than 4096 bytes or has a
    /// NUL in it.
    pub fn new(
        name: impl Into<String>,
        description: impl Into<String>,
        device: Arc<dyn Device>,
    ) -> Result<Self, InvalidExport> {
        let (name, description) = (name.into(), description.into());
        let fits = |text: &str| text.len() <= MAX_STRING && !text.contains('\0');
        if !fits(&name) || !fits(&description) {
            return Err(InvalidExport::Text);
        }
        Ok(Self {
            name,
            description,
            device,
        })
    }

    /// Returns the name that clients ask for.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the description, for people; it may be empty.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Returns the device.
    #[must_use]
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export")
            .field("name", &self.name)
            .field("size", &self.device.size())
            .finish_non_exhaustive()
    }
}

/// The longest string of the protocol, in bytes.
pub(crate) const MAX_STRING: usize = 4096;

/// A fault of an export, or of a set of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidExport {
    /// A text is too long, or has a NUL in it.
    #[error("names and descriptions of exports have at most {MAX_STRING} bytes, and no NUL")]
    Text,
    /// Two exports have the same name.
    #[error("two exports have one name")]
    Twice,
    /// There is no export.
    #[error("there is no export")]
    None,
}

/// All exports of a server. The first one is the default: a client that asks for an empty name gets
/// it.
#[derive(Clone, Debug)]
pub struct Exports {
    list: Vec<Export>,
    /// The index in the list of each export, by its name.
    by_name: HashMap<String, usize>,
}

impl Exports {
    /// Makes a set of exports, the default one first.
    ///
    /// # Errors
    /// [`InvalidExport::None`] or [`InvalidExport::Twice`].
    pub fn new(list: Vec<Export>) -> Result<Self, InvalidExport> {
        if list.is_empty() {
            return Err(InvalidExport::None);
        }
        let mut by_name = HashMap::with_capacity(list.len());
        for (index, export) in list.iter().enumerate() {
            match by_name.entry(export.name.clone()) {
                Entry::Occupied(_) => return Err(InvalidExport::Twice),
                Entry::Vacant(free) => free.insert(index),
            };
        }
        Ok(Self { list, by_name })
    }

    /// Returns all exports, the default one first.
    #[must_use]
    pub fn list(&self) -> &[Export] {
        &self.list
    }

    /// Returns the export with this name. Returns the first export for an empty name, unless one
    /// has it.
    pub(crate) fn find(&self, name: &str) -> Option<&Export> {
        let default = || name.is_empty().then_some(0);
        let index = self.by_name.get(name).copied().or_else(default)?;
        self.list.get(index)
    }
}
