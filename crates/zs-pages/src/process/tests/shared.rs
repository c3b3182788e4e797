//! Shared memory of real processes, and processes with missing files.

use super::*;
use crate::process::shared_memory::SharedMemory;

#[test]
fn shared_memory_is_told_and_left_out_unless_it_is_asked_for() {
    let holder = Holder::start("marked");
    let survey = sample(&[holder.pid()], ALL);
    let process = &survey.processes[0];
    // A test program on a tmpfs is itself shared memory.
    let told = process.shared_memory.unwrap();
    assert!(told >= 1000 * PAGE as u64, "{process:?}");
    assert_eq!(process.shared().pages, 0);
    assert_eq!(marked(&survey).len(), 1000);
    let survey = sample(&[holder.pid()], SHARED);
    let process = &survey.processes[0];
    assert_eq!(process.shared().sampled, process.shared().pages);
    assert!(process.shared().pages >= 1000, "{process:?}");
    assert_eq!(marked(&survey).len(), 2000);
}

#[test]
fn each_page_of_shared_memory_counts_once_however_many_map_it() {
    let mut holder = Holder::start_with("shared memory", 2);
    let mut pids = vec![holder.pid()];
    pids.append(&mut holder.numbers);
    let survey = sample(&pids, SHARED);
    assert_eq!(survey.processes.len(), 3, "{:?}", survey.unread);
    // 400 pages of one object and 300 of the other, without holes. Pages that are mapped twice, or
    // by all three processes, count once.
    let mut pages = marked(&survey);
    pages.sort_unstable();
    let mut all: Vec<u64> = (0..400).chain(0..300).collect();
    all.sort_unstable();
    assert_eq!(pages, all);
    let [first, others @ ..] = &survey.processes[..] else {
        panic!("there are three");
    };
    assert!(first.shared().pages >= 700 && first.counted_elsewhere >= 200);
    for process in others {
        assert_eq!(process.shared().pages, 0, "{process:?}");
        assert!(process.counted_elsewhere >= 700, "{process:?}");
    }
    // The proportional shares add up to the whole.
    let told = survey
        .processes
        .iter()
        .map(|process| process.shared_memory.unwrap());
    let told: u64 = told.sum();
    let pages = first.shared().pages * PAGE as u64;
    assert!(told.abs_diff(pages) < 64 << 10, "{told} {pages}");
}

#[test]
fn without_the_scan_the_same_shared_memory_is_found() {
    let holder = Holder::start_with("shared memory", 2);
    let dir = ProcDir::open(holder.pid()).unwrap();
    let mappings = smaps::parse(&dir.read("smaps").unwrap());
    let memory = SharedMemory::of(&dir);
    let list = |by_entries: bool| {
        let mut map = Pagemap::open(&dir, PAGE as u64).unwrap();
        if by_entries {
            map.without_scan();
        }
        let mut pages = BTreeSet::new();
        for mapping in mappings
            .iter()
            .filter(|mapping| memory.object(&mapping.file).is_some())
        {
            let addresses = mapping.addresses.clone();
            map.pages(PageKind::SharedMemory, addresses, &mut |page, _| {
                pages.insert(page);
            })
            .unwrap();
        }
        pages
    };
    let scanned = list(false);
    assert!(scanned.len() >= 900, "{}", scanned.len());
    assert_eq!(scanned, list(true));
}

#[test]
fn a_process_whose_first_thread_ended_is_read_through_another() {
    let holder = Holder::start("headless");
    let stat = ProcDir::open(holder.pid()).unwrap().stat().unwrap();
    assert!(stat.has_ended(), "{stat:?}");
    let survey = sample(&[holder.pid()], ALL);
    let mut pages = marked(&survey);
    pages.sort_unstable();
    assert_eq!(pages, (0..1000).collect::<Vec<_>>());
    assert_eq!(survey.processes[0].name, stat.name);
    // For a watched command, it counts as a running child.
    let below = process_list::descendants(std::process::id()).unwrap();
    let found = below.iter().find(|(pid, _)| *pid == holder.pid()).unwrap();
    assert!(!found.1.has_ended(), "{found:?}");
}

#[test]
fn a_file_of_a_process_that_has_gone_is_no_file_that_is_missing() {
    let holder = Holder::start("marked");
    let dir = ProcDir::open(holder.pid()).unwrap();
    drop(holder);
    for file in ["stat", "smaps", "mem"] {
        let source = dir.file(file).unwrap_err();
        let reason = UnreadReason::of(file, &dir, source);
        assert!(matches!(reason, UnreadReason::Ended), "{reason}");
        assert!(matches!(
            UnreadReason::empty(file, &dir),
            UnreadReason::Ended
        ));
    }
}
