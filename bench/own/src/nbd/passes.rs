//! What is done to every server, and what it took.
//!
//! `pass -> requests in the order of the seed -> a client a connection -> Passed -> figures`

use super::client::{Client, Kind, Passed, Request};
use super::disk::{BLOCK, LARGE_BLOCKS, Model, Source};
use super::server::Server;
use crate::figures::Figures;
use crate::machine;
use crate::numbers::{XorShift32, quantile};
use anyhow::{Context as _, Result, bail, ensure};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use wait4::Wait4 as _;

/// One kind of load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Blocks of a request.
    blocks: u32,
    /// In the seed's order, or in the disk's.
    random: bool,
    /// Requests in flight on all connections together.
    depth: usize,
    connections: usize,
    /// Of how many requests one is made: a pass of one request at a time takes long.
    every: usize,
}

const fn pass(name: &'static str, kind: Kind, blocks: u32, depth: usize) -> Pass {
    Pass {
        name,
        kind,
        blocks,
        random: true,
        depth,
        connections: 1,
        every: 1,
    }
}

/// On a disk that holds nothing.
pub(super) const FRESH: Pass = pass("fresh-write-4k", Kind::Write, 1, 64);

/// On a disk that was loaded, in this order.
pub(super) const LOADED: [Pass; 10] = [
    pass("read-4k", Kind::Read, 1, 64),
    Pass {
        connections: 2,
        ..pass("read-4k-2-connections", Kind::Read, 1, 64)
    },
    Pass {
        every: 8,
        ..pass("read-4k-depth-1", Kind::Read, 1, 1)
    },
    pass("read-128k", Kind::Read, LARGE_BLOCKS, 16),
    Pass {
        random: false,
        ..pass("read-128k-sequential", Kind::Read, LARGE_BLOCKS, 16)
    },
    pass("overwrite-4k", Kind::Write, 1, 64),
    Pass {
        connections: 2,
        ..pass("overwrite-4k-2-connections", Kind::Write, 1, 64)
    },
    Pass {
        every: 8,
        ..pass("overwrite-4k-depth-1", Kind::Write, 1, 1)
    },
    pass("overwrite-128k", Kind::Write, LARGE_BLOCKS, 16),
    Pass {
        random: false,
        ..pass("overwrite-128k-sequential", Kind::Write, LARGE_BLOCKS, 16)
    },
];

/// A server with what is known of its disk.
pub(super) struct Served {
    pub(super) server: Server,
    model: Model,
}

/// What stays the same from pass to pass.
pub(super) struct Setting<'a> {
    pub(super) source: &'a Source,
    pub(super) seed: u32,
    /// The longest that a pass goes on asking.
    pub(super) longest: Duration,
}

/// Wall time and CPU time of the server and of the client.
struct Stopwatch {
    start: Instant,
    server: Duration,
    client: Duration,
}

impl Stopwatch {
    fn start(server: &Server) -> Result<Self> {
        Ok(Self {
            server: server.cpu()?,
            client: machine::process_cpu(),
            start: Instant::now(),
        })
    }

    /// The figures of so many bytes; `client` is the CPU time of another process that was the
    /// client.
    fn stop(self, server: &Server, bytes: u64, client: Option<Duration>) -> Result<Figures> {
        let wall = self.start.elapsed().as_secs_f64();
        let server = server.cpu()? - self.server;
        let client = client.unwrap_or_else(|| machine::process_cpu() - self.client);
        ensure!(bytes > 0, "nothing was done");
        let gb = bytes as f64 / 1e9;
        let mut figures = Figures::default();
        figures.push("mb_s", gb * 1e3 / wall);
        figures.push("server_cpu_s_per_gb", server.as_secs_f64() / gb);
        figures.push("client_cpu_s_per_gb", client.as_secs_f64() / gb);
        Ok(figures)
    }
}

impl Served {
    pub(super) fn new(server: Server, source: &Source) -> Result<Self> {
        let client = Client::connect(&server.socket())?;
        let (size, wanted) = (client.size(), source.bytes());
        ensure!(size == wanted, "a disk of {size} bytes, not of {wanted}");
        client.end()?;
        Ok(Self {
            server,
            model: Model::new(source),
        })
    }

    /// Has nbdcopy load the disk; `file` holds each block's own page.
    pub(super) fn load(&mut self, setting: &Setting<'_>, file: &Path) -> Result<Figures> {
        let watch = Stopwatch::start(&self.server)?;
        let mut child = Command::new("nbdcopy")
            .arg("--flush")
            .arg(file)
            .arg(self.server.uri())
            .stdin(Stdio::null())
            .spawn()
            .context(
                "nbdcopy cannot be started: on Debian or Ubuntu, `apt-get install libnbd-bin`",
            )?;
        let ended = child.wait4()?;
        ensure!(
            ended.status.success(),
            "nbdcopy ended with {}",
            ended.status
        );
        let client = ended.rusage.utime + ended.rusage.stime;
        let figures = watch.stop(&self.server, setting.source.bytes(), Some(client))?;
        self.model.wrote(0, setting.source.blocks(), 0);
        Ok(figures)
    }

    /// One pass, on as many connections as it has. Writes shift the pages by `shift` groups.
    pub(super) fn run(
        &mut self,
        pass: &Pass,
        setting: &Setting<'_>,
        shift: u32,
    ) -> Result<Figures> {
        self.server.forget_cache()?;
        let requests = setting.source.blocks() / pass.blocks;
        let order: Vec<u32> = if pass.random {
            XorShift32::new(setting.seed).shuffled(requests)
        } else {
            (0..requests).collect()
        };
        let order = &order[..order.len() / pass.every];
        let mut clients = (0..pass.connections)
            .map(|_| Client::connect(&self.server.socket()))
            .collect::<Result<Vec<_>>>()?;
        let watch = Stopwatch::start(&self.server)?;
        let until = watch.start + setting.longest;
        let shares = order.chunks(order.len().div_ceil(pass.connections));
        let work = |client: &mut Client, share: &[u32]| {
            let asked = share
                .iter()
                .map(|at| request(pass, setting.source, *at, shift));
            let depth = pass.depth / pass.connections;
            let passed = client.pass(pass.kind, depth, until, asked, |_, _| Ok(()))?;
            if pass.kind == Kind::Write {
                client.ask(Kind::Flush, 0, 0)?;
            }
            Ok(passed)
        };
        let passed = if let [client] = &mut clients[..] {
            vec![work(client, order)?]
        } else {
            at_once(&mut clients, shares.clone(), &work)?
        };
        let bytes = passed.iter().map(|passed| passed.bytes).sum();
        let mut figures = watch.stop(&self.server, bytes, None)?;
        if let Some(mb_s) = figures.get("mb_s") {
            let len = pass.blocks as usize * BLOCK;
            figures.push("iops", mb_s * 1e6 / len as f64);
        }
        for (share, passed) in shares.zip(&passed) {
            let done = &share[..passed.latencies.len()];
            if pass.kind == Kind::Write {
                let block = |at: &u32| at * pass.blocks;
                done.iter()
                    .for_each(|at| self.model.wrote(block(at), pass.blocks, shift));
            }
        }
        clients.into_iter().try_for_each(Client::end)?;
        latencies(&mut figures, passed);
        Ok(figures)
    }

    /// Reads the whole disk, and compares every block with what was written there last.
    pub(super) fn verify(&self, setting: &Setting<'_>) -> Result<()> {
        let source = setting.source;
        let mut client = Client::connect(&self.server.socket())?;
        let far = Instant::now() + Duration::from_secs(3600);
        let asked = (0..source.blocks() / LARGE_BLOCKS).map(|at| Request {
            offset: u64::from(at * LARGE_BLOCKS) * BLOCK as u64,
            len: LARGE_BLOCKS * BLOCK as u32,
            payload: &[],
        });
        let check = |offset, bytes: &[u8]| self.model.check(source, offset, bytes);
        let passed = client.pass(Kind::Read, 16, far, asked, check)?;
        ensure!(passed.bytes == source.bytes(), "a part was not read");
        client.end()
    }
}

fn request<'a>(pass: &Pass, source: &'a Source, at: u32, shift: u32) -> Request<'a> {
    let block = at * pass.blocks;
    let payload = match pass.kind {
        Kind::Write => source.payload(block, pass.blocks, shift),
        _ => &[],
    };
    Request {
        offset: u64::from(block) * BLOCK as u64,
        len: pass.blocks * BLOCK as u32,
        payload,
    }
}

/// A thread a connection.
fn at_once<'o>(
    clients: &mut [Client],
    shares: impl Iterator<Item = &'o [u32]>,
    work: &(impl Fn(&mut Client, &[u32]) -> Result<Passed> + Sync),
) -> Result<Vec<Passed>> {
    thread::scope(|scope| {
        let spawn = |(client, share)| scope.spawn(move || work(client, share));
        let threads: Vec<_> = clients.iter_mut().zip(shares).map(spawn).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| match thread.join() {
            Ok(passed) => passed,
            Err(_) => bail!("a client panicked"),
        };
        threads.into_iter().map(join).collect()
    })
}

fn latencies(figures: &mut Figures, passed: Vec<Passed>) {
    let all = passed.into_iter().flat_map(|passed| passed.latencies);
    let mut all: Vec<u64> = all.collect();
    all.sort_unstable();
    for (name, share) in [("p50_us", 0.5), ("p99_us", 0.99)] {
        if let Some(ns) = quantile(&all, share) {
            figures.push(name, ns as f64 / 1e3);
        }
    }
}
