use super::*;
use serde_json::Value;
use std::fs;
use std::io::BufRead as _;
use std::path::PathBuf;
use tempfile::TempDir;
use zram::{BackingFile, BlockFile, Store, StoreOptions};
use zs_nbd::{Device, Export, Exports, Limits, Server};

const BLOCKS: usize = 16;
const BLOCK: usize = 4096;

/// A file in memory whose reads and writes wait while it is held. Clones are the same file.
#[derive(Clone, Default)]
struct SlowFile(Arc<SlowState>);

#[derive(Default)]
struct SlowState {
    bytes: Mutex<Vec<u8>>,
    /// Calls wait, and the number that do.
    held: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl SlowFile {
    fn hold(&self, held: bool) {
        self.0.held.lock().unwrap().0 = held;
        self.0.changed.notify_all();
    }

    fn wait_until_somebody_waits(&self) {
        let held = self.0.held.lock().unwrap();
        let nobody = |held: &mut (bool, usize)| held.1 == 0;
        drop(self.0.changed.wait_while(held, nobody).unwrap());
    }

    fn wait_while_held(&self) {
        let mut held = self.0.held.lock().unwrap();
        held.1 += 1;
        self.0.changed.notify_all();
        held = self.0.changed.wait_while(held, |held| held.0).unwrap();
        held.1 -= 1;
    }
}

impl BlockFile for SlowFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.wait_while_held();
        let bytes = self.0.bytes.lock().unwrap();
        buffer.copy_from_slice(&bytes[offset as usize..][..buffer.len()]);
        Ok(buffer.len())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.wait_while_held();
        let mut file = self.0.bytes.lock().unwrap();
        let end = offset as usize + bytes.len();
        let len = file.len().max(end);
        file.resize(len, 0);
        file[offset as usize..end].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn sync(&self) -> io::Result<()> {
        self.wait_while_held();
        Ok(())
    }
}

/// A console of one disk, whose backing is a slow file.
struct Setup {
    folder: TempDir,
    file: SlowFile,
    disk: Arc<StoreDisk>,
    console: Console,
}

impl Setup {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("files")).unwrap();
        let file = SlowFile::default();
        let options = StoreOptions::new((BLOCKS * BLOCK) as u64);
        let store = Store::new(options.clone()).unwrap();
        let backing = BackingFile::new(file.clone(), 1 << 20);
        store.set_backing(backing).unwrap();
        store.write(0, &contents()).unwrap();
        let disk = Arc::new(StoreDisk::new("", false, options, None, store));
        let (path, files) = (folder.path().join("ctl"), folder.path().join("files"));
        let socket = PrivateListener::bind(&path).unwrap();
        let files = Files::below(Some(&files)).unwrap();
        let export = Export::new("", "", Arc::clone(&disk) as Arc<dyn Device>).unwrap();
        let exports = Exports::new(vec![export]).unwrap();
        let server = Server::start(exports, vec![], Limits::default(), Arc::new(|_| ())).unwrap();
        let disks = vec![Arc::clone(&disk)];
        let console = Console::start(socket, disks, files, server.clients()).unwrap();
        Self {
            folder,
            file,
            disk,
            console,
        }
    }

    fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    fn connect(&self) -> Asking {
        let stream = UnixStream::connect(self.folder.path().join("ctl")).unwrap();
        Asking(BufReader::new(stream))
    }
}

/// Returns the blocks that differ, and do not compress to one word.
fn contents() -> Vec<u8> {
    (0..BLOCKS * BLOCK)
        .map(|at| (at / BLOCK + at % 251) as u8)
        .collect()
}

/// A connection to the console.
struct Asking(BufReader<UnixStream>);

impl Asking {
    fn send(&mut self, request: &str) {
        writeln!(self.0.get_mut(), "{{\"request\":{request}}}").unwrap();
    }

    fn answer(&mut self) -> Value {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            let answer = serde_json::from_str(&line).unwrap();
            if answer != "working" {
                return answer;
            }
        }
    }

    fn ask(&mut self, request: &str) -> Value {
        self.send(request);
        self.answer()
    }
}

const WRITEBACK: &str = r#"{"command":"writeback","blocks":"all","form":"compressed"}"#;

/// A long verb of one client is in nobody's way, and goes on when its client goes. It is inside as
/// long as its file is held.
#[test]
fn a_long_verb_is_in_nobodys_way() {
    let setup = Setup::new();
    setup.file.hold(true);
    let mut long = setup.connect();
    long.send(WRITEBACK);
    setup.file.wait_until_somebody_waits();
    let mut other = setup.connect();
    for request in [
        r#"{"command":"stat"}"#,
        r#"{"command":"trim"}"#,
        r#"{"command":"compact"}"#,
        r#"{"command":"limit","bytes":4194304}"#,
    ] {
        let answer = other.ask(request);
        assert!(answer.get("ok").is_some(), "{request}: {answer}");
    }
    let second = other.ask(WRITEBACK);
    assert_eq!(second["error"], "busy: a writeback is under way");
    assert_eq!(setup.disk.store().stats().backing_blocks, 0);
    // Its client is interrupted.
    drop(long);
    assert!(other.ask(r#"{"command":"stat"}"#).get("ok").is_some());
    setup.file.hold(false);
    // Which waits for it.
    assert!(setup.console.stop());
    assert_eq!(
        setup.disk.store().stats().backing_blocks,
        BLOCKS as u64,
        "it was not finished"
    );
}

/// A client that stays changes nothing between the end and the save.
#[test]
fn nothing_is_done_after_the_end() {
    let setup = Setup::new();
    let mut asking = setup.connect();
    assert!(asking.ask(r#"{"command":"stat"}"#).get("ok").is_some());
    assert!(setup.console.stop());
    let answer = asking.ask(r#"{"command":"reset"}"#);
    assert_eq!(answer["error"], "the server ends");
    let mut bytes = vec![0; BLOCKS * BLOCK];
    setup.disk.store().read(0, &mut bytes).unwrap();
    assert!(bytes == contents());
}

/// A snapshot that is being written when the server ends is not left by halves.
#[test]
fn the_end_comes_in_the_middle_of_a_snapshot() {
    let setup = Setup::new();
    let old = setup.files().join("disk.snap");
    fs::write(&old, "the old one").unwrap();
    let mut asking = setup.connect();
    assert!(asking.ask(WRITEBACK).get("ok").is_some());
    setup.file.hold(true);
    // It reads what was written back.
    asking.send(r#"{"command":"snapshot","path":"disk.snap"}"#);
    setup.file.wait_until_somebody_waits();
    setup.console.shared.reach.files.stop();
    setup.file.hold(false);
    let answer = asking.answer();
    let error = answer["error"].as_str().unwrap();
    assert!(error.contains("the server ends"), "{error}");
    assert_eq!(fs::read(&old).unwrap(), b"the old one");
    assert_eq!(fs::read_dir(setup.files()).unwrap().count(), 1);
    assert!(setup.console.stop());
}

/// The work is not done before its client was told twice that it goes on.
#[test]
fn a_long_verb_tells_that_it_goes_on() {
    let (server, client) = UnixStream::pair().unwrap();
    let (sender, heard) = mpsc::channel();
    let heard = Mutex::new(heard);
    let lines = std::thread::spawn(move || {
        let mut lines = Vec::new();
        for line in BufReader::new(client).lines() {
            lines.push(line.unwrap());
            let _ = sender.send(());
        }
        lines
    });
    let work = || {
        for _ in 0..2 {
            heard.lock().unwrap().recv().unwrap();
        }
        Answer::Ok(7.into())
    };
    attend(&server, Duration::from_millis(1), work).unwrap();
    drop(server);
    let lines = lines.join().unwrap();
    let (last, before) = lines.split_last().unwrap();
    assert_eq!(last, r#"{"ok":7}"#);
    assert!(before.len() >= 2);
    assert!(
        before.iter().all(|line| line == r#""working""#),
        "{before:?}"
    );
}
