//! Collecting files into pages.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's helpers fail the test, and say what they skip"
)]

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use zs_mm::PageSize;
use zs_pages::{Collector, Error, PageFile, Source};

/// 1 MiB, which the collector moves at a time.
const CHUNK: usize = 1 << 20;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn write(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// Returns bytes whose pattern does not repeat at a power of two.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index % 251) as u8 + 1).collect()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn collect(page: PageSize, paths: &[&Path]) -> Result<(PageFile, Vec<Source>), Error> {
    let mut collector = Collector::new(page)?;
    for path in paths {
        collector.add_file(path, &mut |_| ())?;
    }
    collector.finish()
}

fn all_bytes(file: &PageFile) -> Vec<u8> {
    let pages = file.map().unwrap();
    assert_eq!(pages.len() as u64, file.pages());
    pages.iter().flatten().copied().collect()
}

fn refusal(path: &Path) -> String {
    let mut collector = Collector::new(PageSize::K4).unwrap();
    collector
        .add_file(path, &mut |_| ())
        .unwrap_err()
        .to_string()
}

#[test]
fn each_file_starts_on_a_page_and_the_rest_is_zero() {
    let folder = folder();
    for page in PageSize::ALL {
        let whole = pattern(2 * page.bytes());
        let odd = pattern(page.bytes() + 1);
        let a = write(&folder, "a", &whole);
        let b = write(&folder, "b", &odd);
        let (file, sources) = collect(page, &[&b, &a, &b]).unwrap();
        let mut expected = Vec::new();
        for bytes in [&odd, &whole, &odd] {
            expected.extend_from_slice(bytes);
            expected.resize(expected.len().next_multiple_of(page.bytes()), 0);
        }
        assert!(all_bytes(&file) == expected, "{page}");
        let padding: Vec<u64> = sources.iter().map(|source| source.padding).collect();
        let missing = page.bytes() as u64 - 1;
        assert_eq!(padding, [missing, 0, missing]);
        assert_eq!(sources[0].pages(page), 2);
        assert_eq!(sources[0].bytes, odd.len() as u64);
        assert!(!sources[0].unpacked);
    }
}

#[test]
fn lengths_around_the_step_of_copying_arrive_whole() {
    let folder = folder();
    for len in [1, 4095, 4096, 4097, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK] {
        let bytes = pattern(len);
        for (name, contents) in [("plain", bytes.clone()), ("packed.zst", zstd(&bytes))] {
            let path = write(&folder, name, &contents);
            let mut seen = 0;
            let mut collector = Collector::new(PageSize::K4).unwrap();
            collector.add_file(&path, &mut |step| seen += step).unwrap();
            let (file, _) = collector.finish().unwrap();
            let mut expected = bytes.clone();
            expected.resize(len.next_multiple_of(4096), 0);
            assert!(all_bytes(&file) == expected, "{name} of {len}");
            assert_eq!(seen, len as u64);
        }
    }
}

#[test]
fn a_zst_file_of_several_frames_is_unpacked_whole() {
    let folder = folder();
    let (first, second) = (pattern(5000), vec![9; 100_000]);
    let path = write(&folder, "two.zst", &[zstd(&first), zstd(&second)].concat());
    let (file, sources) = collect(PageSize::K4, &[&path]).unwrap();
    assert!(sources[0].unpacked);
    assert_eq!(sources[0].bytes, 105_000);
    assert!(all_bytes(&file)[..105_000] == [first, second].concat());
}

#[test]
fn empty_files_add_no_page() {
    let folder = folder();
    let empty = write(&folder, "empty", b"");
    let packed = write(&folder, "empty.zst", &zstd(b""));
    let one = write(&folder, "one", b"1");
    let (file, sources) = collect(PageSize::K4, &[&empty, &packed, &one]).unwrap();
    assert_eq!(file.pages(), 1);
    let pages: Vec<u64> = sources
        .iter()
        .map(|source| source.pages(PageSize::K4))
        .collect();
    assert_eq!(pages, [0, 0, 1]);
    let none = collect(PageSize::K4, &[&empty]).unwrap_err();
    assert!(matches!(none, Error::NotPages(_)), "{none}");
}

#[test]
fn a_file_that_fails_half_way_leaves_nothing_behind() {
    let folder = folder();
    let mut packed = zstd(&pattern(3 * CHUNK));
    packed.truncate(packed.len() - 5);
    let cut = write(&folder, "cut.zst", &packed);
    let good = write(&folder, "good", b"good");
    let mut collector = Collector::new(PageSize::K4).unwrap();
    let error = collector.add_file(&cut, &mut |_| ()).unwrap_err();
    assert!(matches!(error, Error::Unpack { .. }), "{error}");
    assert!(error.to_string().contains("cut.zst"), "{error}");
    collector.add_file(&good, &mut |_| ()).unwrap();
    assert_eq!(collector.sources().len(), 1);
    let (file, _) = collector.finish().unwrap();
    let mut expected = b"good".to_vec();
    expected.resize(4096, 0);
    assert!(all_bytes(&file) == expected);
}

#[test]
fn every_cut_of_a_zst_file_is_noticed() {
    let folder = folder();
    let bytes = pattern(10_000);
    let packed = zstd(&bytes);
    for len in 0..packed.len() {
        let path = write(&folder, "cut.zst", &packed[..len]);
        assert!(refusal(&path).contains("undamaged zstd"), "cut to {len}");
    }
    let longer = [packed.as_slice(), b"more"].concat();
    let path = write(&folder, "longer.zst", &longer);
    assert!(refusal(&path).contains("longer.zst"));
    let path = write(&folder, "text.zst", b"this was never packed");
    assert!(refusal(&path).contains("undamaged zstd"));
}

#[test]
fn only_regular_files_are_read() {
    let folder = folder();
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (path, expected) in [
        (folder.path(), "is a directory"),
        (Path::new("/dev/zero"), "is a character device"),
        (&socket, "is a socket"),
    ] {
        let text = refusal(path);
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("only regular files"), "{text}");
        assert!(text.contains(path.to_str().unwrap()), "{text}");
    }
    let gone = refusal(&folder.path().join("gone"));
    assert!(gone.contains("gone\": No such file"), "{gone}");
}

#[test]
fn a_folder_that_is_none_is_named() {
    let folder = folder();
    let gone = folder.path().join("gone");
    let error = Collector::in_folder(PageSize::K4, &gone).unwrap_err();
    assert!(error.to_string().contains("gone"), "{error}");
    assert!(error.to_string().contains("TMPDIR"), "{error}");
}

#[test]
fn a_page_file_can_be_handed_over() {
    let folder = folder();
    let path = write(&folder, "a", &pattern(8192));
    let (file, _) = collect(PageSize::K4, &[&path]).unwrap();
    let other = PageFile::inherited(file.descriptor().unwrap(), PageSize::K4).unwrap();
    drop(file);
    assert!(all_bytes(&other) == pattern(8192));
    let mut written = File::from(other.descriptor().unwrap());
    written.write_all(b"x").unwrap_err();
}

#[test]
fn other_files_are_no_page_files() {
    let folder = folder();
    let named = write(&folder, "named", &pattern(4096));
    let page_file = |len: usize| {
        let path = write(&folder, "unnamed", &pattern(len));
        let file = File::open(&path).unwrap();
        fs::remove_file(path).unwrap();
        file
    };
    let writable = tempfile::tempfile().unwrap();
    writable.set_len(4096).unwrap();
    for (file, expected) in [
        (File::open(named).unwrap(), "it has a name"),
        (File::open(folder.path()).unwrap(), "no regular file"),
        (writable, "open for writing"),
        (page_file(0), "empty"),
        (page_file(4097), "no multiple"),
    ] {
        let error = PageFile::inherited(file.into(), PageSize::K4).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let good = PageFile::inherited(page_file(4096).into(), PageSize::K4).unwrap();
    assert_eq!(good.pages(), 1);
}

#[test]
fn pages_are_found_by_number() {
    let folder = folder();
    let path = write(&folder, "a", &pattern(3 * 4096));
    let (file, _) = collect(PageSize::K4, &[&path]).unwrap();
    let pages = file.map().unwrap();
    assert_eq!(pages.page_size(), PageSize::K4);
    assert_eq!(pages.get(2), Some(&pattern(3 * 4096)[8192..]));
    assert_eq!(pages.get(3), None);
    assert_eq!(pages.get(usize::MAX), None);
    let addresses = pages.addresses();
    assert_eq!(addresses.len(), 3 * 4096);
    assert_eq!(addresses.start, pages.get(0).unwrap().as_ptr().addr());
}

/// Makes a sparse file, with bytes at some offsets.
fn sparse(folder: &TempDir, name: &str, len: u64, parts: &[(u64, &[u8])]) -> PathBuf {
    let path = folder.path().join(name);
    let file = File::create(&path).unwrap();
    file.set_len(len).unwrap();
    for (at, bytes) in parts {
        file.write_all_at(bytes, *at).unwrap();
    }
    path
}

/// Says whether files in a folder have holes, and prints a note if not.
fn has_holes(folder: &TempDir) -> bool {
    let file = File::open(sparse(folder, "probe", 64 << 20, &[])).unwrap();
    let told = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(0)).is_err();
    if !told {
        println!(
            "skipped: the file system of {:?} knows no holes",
            folder.path()
        );
    }
    told
}

#[test]
fn holes_of_a_file_are_neither_read_nor_written() {
    const LEN: u64 = (100 << 30) + 5;
    let folder = folder();
    if !has_holes(&folder) {
        return;
    }
    let (middle, end) = ((40 << 30) + 4090, LEN - 3);
    let parts: [(u64, &[u8]); 3] = [(0, b"start"), (middle, b"across a page"), (end, b"end")];
    let path = sparse(&folder, "sparse", LEN, &parts);
    let mut seen = 0;
    let mut collector = Collector::in_folder(PageSize::K4, folder.path()).unwrap();
    collector.add_file(&path, &mut |step| seen += step).unwrap();
    let (file, sources) = collector.finish().unwrap();
    assert_eq!((sources[0].bytes, seen), (LEN, LEN));
    // The size of an allocated block depends on the file system.
    assert!(sources[0].holes > LEN - (1 << 20), "{}", sources[0].holes);
    assert!(file.data_pages() < 1024, "{}", file.data_pages());
    let written = File::from(file.descriptor().unwrap()).metadata().unwrap();
    assert!(written.blocks() < 4096, "{} blocks", written.blocks());
    let pages = file.map().unwrap();
    for (at, bytes) in parts {
        assert_eq!(&pages.bytes()[at as usize..][..bytes.len()], bytes);
    }
    let data = pages.data();
    assert_eq!(data.len() as u64, file.data_pages());
    assert_eq!(data.len() + data.holes(), pages.len());
    let not_zero = |page: &&[u8]| page.iter().any(|byte| *byte != 0);
    assert_eq!(data.iter().filter(not_zero).count(), 4);
}

#[test]
fn files_with_holes_anywhere_arrive_whole() {
    let folder = folder();
    let mut random = fastrand::Rng::with_seed(5);
    for round in 0..60 {
        let page = PageSize::ALL[round % 3];
        let len = random.u64(1..4 << 20);
        let piece = pattern(200_000);
        let parts: Vec<(u64, &[u8])> = (0..random.usize(..5))
            .map(|_| {
                let at = random.u64(..len);
                let most = (len - at).min(piece.len() as u64);
                (at, &piece[..random.u64(1..=most) as usize])
            })
            .collect();
        let path = sparse(&folder, "sparse", len, &parts);
        let odd = write(&folder, "odd", b"odd");
        let (file, sources) = collect(page, &[&odd, &path, &odd]).unwrap();
        let mut expected = Vec::new();
        for path in [&odd, &path, &odd] {
            expected.extend(fs::read(path).unwrap());
            expected.resize(expected.len().next_multiple_of(page.bytes()), 0);
        }
        assert!(all_bytes(&file) == expected, "round {round}");
        assert!(sources[1].holes <= sources[1].bytes);
        let pages = file.map().unwrap();
        let data = pages.data();
        for (index, page) in data.iter().enumerate() {
            assert_eq!(data.get(index), Some(page));
        }
        assert_eq!(data.get(data.len()), None);
        let zeros = pages
            .iter()
            .filter(|page| page.iter().all(|byte| *byte == 0));
        assert!(zeros.count() >= data.holes());
        data.forget(0..data.len());
        assert!(all_bytes(&file) == expected, "round {round}, forgotten");
    }
}

#[test]
fn a_hole_does_not_show_what_was_taken_back() {
    let folder = folder();
    let mut packed = zstd(&pattern(3 * CHUNK));
    packed.truncate(packed.len() - 5);
    let cut = write(&folder, "cut.zst", &packed);
    let hole = sparse(&folder, "hole", 2 * CHUNK as u64, &[]);
    let good = write(&folder, "good", b"good");
    let mut collector = Collector::new(PageSize::K4).unwrap();
    collector.add_file(&good, &mut |_| ()).unwrap();
    for _ in 0..2 {
        collector.add_file(&cut, &mut |_| ()).unwrap_err();
        collector.add_file(&hole, &mut |_| ()).unwrap();
    }
    collector.add_file(&good, &mut |_| ()).unwrap();
    let (file, _) = collector.finish().unwrap();
    let mut page = b"good".to_vec();
    page.resize(4096, 0);
    let expected = [&page[..], &vec![0; 4 * CHUNK], &page].concat();
    assert!(all_bytes(&file) == expected);
}

#[test]
fn a_file_of_proc_has_bytes_though_its_length_is_0() {
    let path = Path::new("/proc/self/status");
    let (file, sources) = collect(PageSize::K4, &[path]).unwrap();
    assert!(all_bytes(&file).starts_with(b"Name:"));
    assert!(sources[0].bytes > 0 && sources[0].holes == 0);
}
