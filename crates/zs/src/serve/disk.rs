//! The disk that is served: a device, and what it does when told.

use crate::control::Request;
use serde_json::{Value, json};
use std::sync::Arc;
use zs_nbd::{Device, Errno, MemoryDevice};

/// A disk that `zs ctl` can talk to.
pub(super) trait Disk: Send + Sync {
    /// What NBD sees of it.
    fn device(&self) -> Arc<dyn Device>;

    /// Does what it is told. Paths have been checked against --allow-dir.
    ///
    /// # Errors
    /// A text for people: what was wrong, and what is allowed.
    fn control(&self, request: &Request) -> Result<Value, String>;
}

/// A disk of plain memory.
pub(super) struct PlainDisk(Arc<MemoryDevice>);

impl PlainDisk {
    pub(super) fn new(size: u64, read_only: bool) -> Result<Self, Errno> {
        let device = MemoryDevice::new(size)?;
        Ok(Self(Arc::new(if read_only {
            device.into_read_only()
        } else {
            device
        })))
    }
}

impl Disk for PlainDisk {
    fn device(&self) -> Arc<dyn Device> {
        Arc::clone(&self.0) as Arc<dyn Device>
    }

    fn control(&self, request: &Request) -> Result<Value, String> {
        match request {
            Request::Stat => Ok(json!({ "size": self.0.size() })),
            other => Err(format!(
                "a disk of plain memory knows stat only, not {other:?}"
            )),
        }
    }
}
