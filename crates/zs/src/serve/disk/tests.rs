use super::*;
use std::io;

fn disk(options: StoreOptions) -> StoreDisk {
    let store = Store::new(options.clone()).unwrap();
    StoreDisk::new("", false, options, None, store)
}

fn options() -> StoreOptions {
    StoreOptions::new(1 << 20)
}

fn snapshot(disk: &StoreDisk) -> Vec<u8> {
    let mut file = Vec::new();
    disk.store().snapshot(&mut file).unwrap();
    file
}

/// A file, before whose first byte something else is done.
struct Meanwhile<'a, F>(&'a [u8], Option<F>);

impl<F: FnOnce()> Read for Meanwhile<'_, F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(other) = self.1.take() {
            other();
        }
        self.0.read(buf)
    }
}

#[test]
fn one_load_or_reset_at_a_time() {
    let disk = disk(options());
    disk.store().write(0, &[1; 4096]).unwrap();
    let file = snapshot(&disk);
    disk.store().write(0, &[2; 4096]).unwrap();
    let first = disk.store();
    let meanwhile = || {
        assert!(matches!(disk.load(&file[..]), Err(Error::Busy(_))));
        assert!(matches!(disk.reset(), Err(Error::Busy(_))));
        assert!(Arc::ptr_eq(&first, &disk.store()));
    };
    disk.load(Meanwhile(&file, Some(meanwhile))).unwrap();
    assert!(!Arc::ptr_eq(&first, &disk.store()));
    let mut bytes = [0; 4096];
    disk.store().read(0, &mut bytes).unwrap();
    assert!(bytes == [1; 4096]);
    disk.load(&file[..]).unwrap();
    disk.reset().unwrap();
}

/// The end of the server comes while a load reads: what is saved then stays what it is.
#[test]
fn a_load_that_is_late_changes_no_disk_that_is_saved() {
    let disk = disk(options());
    disk.store().write(0, &[1; 4096]).unwrap();
    let file = snapshot(&disk);
    let first = disk.store();
    let loaded = disk.load(Meanwhile(&file, Some(|| disk.seal())));
    assert!(matches!(loaded, Err(Error::Busy(_))), "{loaded:?}");
    assert!(matches!(disk.reset(), Err(Error::Busy(_))));
    assert!(Arc::ptr_eq(&first, &disk.store()));
    assert!(snapshot(&disk) == file);
}

#[test]
fn what_was_set_is_kept_by_a_load() {
    let mut wanted = options();
    // No block compresses to less: all are stored as they are.
    wanted.raw_above = Some(8);
    wanted.limit = Some(8 << 20);
    let disk = disk(wanted);
    disk.store().set_writeback_limit(Some(4096));
    let file = snapshot(&disk);
    let meanwhile = || {
        disk.store().set_limit(6 << 20).unwrap();
        disk.store().set_writeback_limit(Some(8192));
    };
    disk.load(Meanwhile(&file, Some(meanwhile))).unwrap();
    let store = disk.store();
    assert_eq!(store.limit(), 6 << 20);
    assert_eq!(store.writeback_limit(), Some(8192));
    store.write(0, &b"sixteen letters.".repeat(256)).unwrap();
    assert_eq!(store.stats().huge_blocks, 1);
    disk.reset().unwrap();
    assert_eq!(store.writeback_limit(), Some(8192));
}
