//! Serves a disk of plain memory on a unix socket until standard input ends: `memory-disk SOCKET
//! SIZE [THREADS]`.

use std::error::Error;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use zs_nbd::{Endpoint, Export, Exports, Limits, MemoryDevice, Server, Stopped};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, socket, size, rest @ ..] = arguments.as_slice() else {
        return Err("memory-disk SOCKET SIZE [THREADS]".into());
    };
    let mut limits = Limits::default();
    if let [threads] = rest {
        limits.threads = threads.parse()?;
    }
    let device = Arc::new(MemoryDevice::new(size.parse()?)?);
    let exports = Exports::new(vec![Export::new("", "plain memory", device)?])?;
    let endpoint = Endpoint::unix(Path::new(socket))?;
    let server = Server::start(exports, vec![endpoint], limits, Arc::new(|_| ()))?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    match server.stop(Duration::from_secs(5)) {
        Stopped::InTime => Ok(()),
        late => Err(format!("{late:?}").into()),
    }
}
