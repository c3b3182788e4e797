//! A device that a test inspects and controls, and a server around it.

use super::{exports, notes};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use zs_nbd::{
    Content, Context, Device, Endpoint, Errno, Extents, Limits, MemoryDevice, Server, Space,
    Stopped,
};

pub(crate) const SIZE: u64 = 8 << 20;
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A call of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Read,
    Write,
    Zeroes,
    Trim,
    Flush,
    Cache,
    Status,
}

type Hook = Box<dyn Fn(&Probe, Call) + Send + Sync>;

/// Plain memory that notes each call, and lets a test hold it up.
pub(crate) struct Probe {
    disk: MemoryDevice,
    hook: Hook,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    calls: Vec<Call>,
    inside: usize,
    most: usize,
    open: bool,
}

impl Probe {
    /// Makes a device that runs `hook` at each call, before it is executed.
    pub(crate) fn new(hook: impl Fn(&Self, Call) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            disk: MemoryDevice::new(SIZE).unwrap(),
            hook: Box::new(hook),
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Lets threads in [`pass`](Self::pass) go on, now and later.
    pub(crate) fn open(&self) {
        self.state.lock().unwrap().open = true;
        self.changed.notify_all();
    }

    /// Waits until the test opens the gate.
    pub(crate) fn pass(&self) {
        self.wait(|state| state.open);
    }

    /// Waits until `wanted` calls have been inside the device at one moment.
    pub(crate) fn meet(&self, wanted: usize) {
        self.wait(|state| state.most >= wanted);
    }

    /// Waits until there were this many calls.
    pub(crate) fn wait_for(&self, call: Call, count: usize) {
        let is = |other: &&Call| **other == call;
        self.wait(|state| state.calls.iter().filter(is).count() >= count);
    }

    fn wait(&self, until: impl Fn(&State) -> bool) {
        let state = self.state.lock().unwrap();
        let waited = self
            .changed
            .wait_timeout_while(state, LONG, |state| !until(state));
        assert!(!waited.unwrap().1.timed_out(), "it never happened");
    }

    /// Forgets the calls so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.state.lock().unwrap().calls)
    }

    /// Returns the most calls that were inside at one moment.
    pub(crate) fn most(&self) -> usize {
        self.state.lock().unwrap().most
    }

    fn called(&self, call: Call) {
        {
            let mut state = self.state.lock().unwrap();
            state.calls.push(call);
            state.inside += 1;
            state.most = state.most.max(state.inside);
        }
        self.changed.notify_all();
        (self.hook)(self, call);
        self.state.lock().unwrap().inside -= 1;
    }
}

impl Device for Probe {
    fn size(&self) -> u64 {
        SIZE
    }
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<Content, Errno> {
        self.called(Call::Read);
        self.disk.read(offset, buf)
    }
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.called(Call::Write);
        self.disk.write(offset, bytes)
    }
    fn write_zeroes(&self, offset: u64, len: u64, space: Space) -> Result<(), Errno> {
        self.called(Call::Zeroes);
        self.disk.write_zeroes(offset, len, space)
    }
    fn trim(&self, offset: u64, len: u64) -> Result<(), Errno> {
        self.called(Call::Trim);
        self.disk.trim(offset, len)
    }
    fn flush(&self) -> Result<(), Errno> {
        self.called(Call::Flush);
        Ok(())
    }
    fn prefetch(&self, _: u64, _: u64) -> Result<(), Errno> {
        self.called(Call::Cache);
        Ok(())
    }
    fn block_status(
        &self,
        offset: u64,
        extents: &mut Extents,
        context: Context,
    ) -> Result<(), Errno> {
        self.called(Call::Status);
        self.disk.block_status(offset, extents, context)
    }
}

/// A server of one device, on a unix socket and on a TCP port.
pub(crate) struct Setup {
    pub(crate) folder: TempDir,
    pub(crate) server: Server,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) notes: Arc<Mutex<Vec<String>>>,
}

impl Setup {
    pub(crate) fn new(device: Arc<dyn Device>, limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let unix = Endpoint::unix(&folder.path().join("nbd")).unwrap();
        let tcp = Endpoint::tcp("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let address = tcp.tcp_address().unwrap();
        let (observer, notes) = notes();
        let server = Server::start(exports(device), vec![unix, tcp], limits, observer).unwrap();
        Self {
            folder,
            server,
            address,
            notes,
        }
    }

    pub(crate) fn memory() -> Self {
        let disk = MemoryDevice::new(SIZE).unwrap();
        Self::new(Arc::new(disk), Limits::default())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("nbd")
    }

    /// Stops the server, and returns the reported events.
    pub(crate) fn stop(self) -> Vec<String> {
        assert_eq!(self.server.stop(LONG), Stopped::InTime);
        std::mem::take(&mut self.notes.lock().unwrap())
    }
}
