//! Surveys of real processes with memory of known kinds.

pub(super) mod holder;
mod shared;

use super::census::{Census, STRATA};
use super::pagemap::Pagemap;
use super::proc_dir::ProcDir;
use super::sampler::{Sampler, StopReason};
use super::scan_ioctl::PageKind;
use super::seen::Seen;
use super::smaps::Skip;
use super::survey::{SampleOptions, Survey, survey};
use super::unread::UnreadReason;
use super::{process_list, smaps};
use crate::spool::Spool;
use holder::{Holder, MARK, PAGE};
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use zs_mm::PageSize;

/// The most pages of a test program besides: stacks, heap, data of libraries.
const OWN_PAGES: u64 = 900;

const ALL: SampleOptions = SampleOptions {
    bytes: 1 << 40,
    seed: 1,
    shared: false,
};

/// Surveys processes with their shared memory.
const SHARED: SampleOptions = SampleOptions {
    shared: true,
    ..ALL
};

/// Returns the numbers of the marked pages of a sample, in its order.
fn marked(survey: &Survey) -> Vec<u64> {
    let pages = survey.pages.as_ref().unwrap().map().unwrap();
    let marked = pages.iter().filter(|page| page[..8] == MARK);
    marked
        .map(|page| u64::from_ne_bytes(page[8..16].try_into().unwrap()))
        .collect()
}

fn sample(pids: &[u32], options: SampleOptions) -> Survey {
    survey(pids, options, &mut |_| ()).unwrap()
}

fn census(pid: u32) -> Census {
    Census::take(pid, PAGE as u64, false, &mut Seen::default()).unwrap()
}

/// The picks that choose all of a process's own anonymous pages.
fn all_own(census: &Census) -> [u64; STRATA] {
    [census.strata[0].pages, 0, 0]
}

/// Returns the reason why the only process was not read.
fn reason(pid: u32) -> UnreadReason {
    let mut survey = sample(&[pid], ALL);
    assert!(survey.pages.is_none() && survey.processes.is_empty());
    survey.unread.pop().unwrap().reason
}

#[test]
fn pages_that_were_written_are_read_and_no_others() {
    let holder = Holder::start("marked");
    let survey = sample(&[holder.pid()], ALL);
    let mut pages = marked(&survey);
    pages.sort_unstable();
    // Each number once: the pages of shared memory have the same numbers.
    assert_eq!(pages, (0..1000).collect::<Vec<_>>());
    let process = &survey.processes[0];
    assert_eq!(process.sampled(), process.pages());
    // Neither pages that were never touched nor pages that were only read.
    assert!(process.pages() < 1000 + OWN_PAGES, "{process:?}");
    assert_eq!((process.changed(), process.vanished()), (0, 0));
    assert_eq!(process.weighted_pages(), process.pages() as f64);
}

#[test]
fn a_seed_chooses_the_same_pages_and_another_others() {
    let holder = Holder::start("marked");
    let of = |seed| {
        let options = SampleOptions {
            bytes: 200 * PAGE as u64,
            seed,
            ..ALL
        };
        let survey = sample(&[holder.pid()], options);
        assert_eq!(survey.processes[0].sampled(), 200);
        (survey.processes[0].pages(), marked(&survey))
    };
    // The heap of the process may have grown after the first one.
    let (first, again) = loop {
        let (first, again) = (of(1), of(1));
        if first.0 == again.0 {
            break (first.1, again.1);
        }
    };
    assert_eq!(first, again);
    assert!(!first.is_empty() && first.is_sorted());
    assert_ne!(first, of(2).1);
}

#[test]
fn without_the_scan_the_same_pages_are_found_but_for_those_of_zeros() {
    let holder = Holder::start("marked");
    let dir = ProcDir::open(holder.pid()).unwrap();
    let mappings = smaps::parse(&dir.read("smaps").unwrap());
    let list = |by_entries: bool| {
        let mut map = Pagemap::open(&dir, PAGE as u64).unwrap();
        if by_entries {
            map.without_scan();
        }
        let mut pages = BTreeSet::new();
        for mapping in mappings.iter().filter(|mapping| mapping.anonymous > 0) {
            let addresses = mapping.addresses.clone();
            map.pages(PageKind::Anonymous, addresses, &mut |page, _| {
                pages.insert(page);
            })
            .unwrap();
        }
        pages
    };
    let (scanned, entries) = (list(false), list(true));
    assert!(scanned.len() >= 1000);
    assert!(scanned.is_subset(&entries));
    // Neighbouring mappings are merged, so this one may contain the thousand pages of zeros.
    assert!(entries.len() - scanned.len() <= 1000);
}

#[test]
fn what_must_not_be_read_is_left_out_and_said() {
    let holder = Holder::start_with("skipped", 2);
    let [locked, registered] = [0, 1].map(|kind| u64::from(holder.numbers[kind]));
    let survey = sample(&[holder.pid()], ALL);
    let skipped = &survey.processes[0].skipped;
    assert_eq!(skipped.bytes(Skip::DontDump), 100 * PAGE as u64);
    assert_eq!(skipped.bytes(Skip::Locked), locked * PAGE as u64);
    assert_eq!(skipped.bytes(Skip::Userfault), registered * PAGE as u64);
    // Memory that the system did not let this user register or lock counts as ordinary memory.
    let others = 500 - locked - registered;
    assert_eq!(marked(&survey).len() as u64, others);
    if others > 0 {
        println!("skipped in part: mlock or userfaultfd is not allowed here; run as root");
    }
}

#[test]
fn pages_that_forks_share_are_counted_once() {
    let mut holder = Holder::start_with("shared", 3);
    let mut pids = vec![holder.pid()];
    pids.append(&mut holder.numbers);
    let survey = sample(&pids, ALL);
    assert_eq!(survey.processes.len(), 4, "{:?}", survey.unread);
    let weighted = survey
        .processes
        .iter()
        .map(|process| process.weighted_pages());
    let memory: f64 = weighted.sum();
    // More than 4000 pages are mapped, and 500 belong to the first process only.
    assert!(
        (1500.0..1500.0 + 2.0 * OWN_PAGES as f64).contains(&memory),
        "{memory}"
    );
    let [own, shared, _] = survey.processes[0].strata;
    assert!(own.pages >= 500 && own.weight == 1.0, "{own:?}");
    if shared.pages == 0 {
        let mut pages = marked(&survey);
        pages.sort_unstable();
        let mut all: Vec<u64> = (0..1000).chain(0..500).collect();
        all.sort_unstable();
        assert_eq!(pages, all);
        assert!(survey.processes[1].counted_elsewhere >= 1000);
    } else {
        // Without CAP_SYS_ADMIN a shared page counts a quarter for each process, and own pages
        // count in full.
        assert!(shared.pages >= 1000, "{shared:?}");
        assert!((0.2..0.35).contains(&shared.weight), "{shared:?}");
    }
}

#[test]
fn pages_that_change_meanwhile_are_counted() {
    let mut holder = Holder::start("changing");
    let census = census(holder.pid());
    let mut is_marked_anew = false;
    let mut mark_anew = || {
        if !is_marked_anew {
            holder.go_on();
            is_marked_anew = true;
        }
    };
    let mut spool = Spool::new(PageSize::K4).unwrap();
    let mut sampler = Sampler::new(&mut spool, 1);
    sampler.between = Some(&mut mark_anew);
    let sampled = sampler.sample(&census, all_own(&census), &mut |_| ());
    let Ok([sampled, ..]) = sampled else {
        panic!("the process still runs");
    };
    // Pages of the first step only: the others had changed before they were first read.
    assert!(
        (1..=256 + OWN_PAGES).contains(&sampled.changed),
        "{sampled:?}"
    );
    assert!(sampled.changed <= sampled.pages);
}

#[test]
fn pages_that_go_between_count_and_sample_are_counted() {
    let mut holder = Holder::start("leaving");
    let census = census(holder.pid());
    assert!(census.strata[0].pages >= 1000);
    holder.go_on();
    let mut spool = Spool::new(PageSize::K4).unwrap();
    let sampled = Sampler::new(&mut spool, 1).sample(&census, all_own(&census), &mut |_| ());
    let Ok([sampled, ..]) = sampled else {
        panic!("the process still runs");
    };
    assert!((500..600).contains(&sampled.vanished), "{sampled:?}");
    assert_eq!(sampled.pages + sampled.vanished, census.strata[0].pages);
    assert_eq!(spool.len(), sampled.pages * PAGE as u64);
}

#[test]
fn pages_that_are_dropped_between_count_and_sample_are_no_pages_of_zeros() {
    let mut holder = Holder::start("dropping");
    let census = census(holder.pid());
    holder.go_on();
    let mut spool = Spool::new(PageSize::K4).unwrap();
    let sampled = Sampler::new(&mut spool, 1).sample(&census, all_own(&census), &mut |_| ());
    let Ok([sampled, ..]) = sampled else {
        panic!("the process still runs");
    };
    assert!((500..600).contains(&sampled.vanished), "{sampled:?}");
}

#[test]
fn of_a_process_that_runs_another_program_by_now_nothing_is_kept() {
    let mut shell = Command::new("sh")
        .args(["-c", "read -r x; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = shell.id();
    let mut input = shell.stdin.take().unwrap();
    // The census is tried again until the process runs the shell.
    let census = loop {
        let census = census(pid);
        if census.stat.name == "sh" {
            break census;
        }
    };
    // Once cat answers, it has been executed.
    input.write_all(b"\nhere\n").unwrap();
    let mut answer = [0; 5];
    shell
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut answer)
        .unwrap();
    let mut spool = Spool::new(PageSize::K4).unwrap();
    let sampled = Sampler::new(&mut spool, 1).sample(&census, [1, 0, 0], &mut |_| ());
    assert!(matches!(
        sampled,
        Err(StopReason::Process(UnreadReason::Ended))
    ));
    assert_eq!(spool.len(), 0);
    drop(input);
    shell.wait().unwrap();
}

#[test]
fn of_a_process_that_ends_between_count_and_sample_nothing_is_kept() {
    let holder = Holder::start("marked");
    let census = census(holder.pid());
    drop(holder);
    let mut spool = Spool::new(PageSize::K4).unwrap();
    let sampled = Sampler::new(&mut spool, 1).sample(&census, all_own(&census), &mut |_| ());
    assert!(matches!(
        sampled,
        Err(StopReason::Process(UnreadReason::Ended))
    ));
    assert_eq!(spool.len(), 0);
}

#[test]
fn a_process_that_is_none_is_said_to_be_none() {
    assert!(matches!(reason(std::process::id()), UnreadReason::Itself));
    // A number above the largest one of Linux.
    assert!(matches!(reason(1 << 22 | 1), UnreadReason::NoSuchProcess));
    let mut zombie = Command::new("true").spawn().unwrap();
    let pid = zombie.id();
    // Waits until the process has ended, without reaping it.
    let wait = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
    let id = rustix::process::WaitId::Pid(rustix::process::Pid::from_child(&zombie));
    rustix::process::waitid(id, wait).unwrap();
    assert!(matches!(reason(pid), UnreadReason::Zombie));
    zombie.wait().unwrap();
    assert!(matches!(reason(pid), UnreadReason::NoSuchProcess));
}

#[test]
fn a_kernel_thread_has_no_memory() {
    let named = |pid| ProcDir::open(pid).and_then(|dir| dir.stat());
    if !named(2).is_ok_and(|stat| stat.name == "kthreadd") {
        println!("skipped: in this container no kernel thread can be seen");
        return;
    }
    assert!(matches!(reason(2), UnreadReason::KernelThread));
}

#[test]
fn a_thread_is_not_taken_for_a_process() {
    let holder = Holder::start("threads");
    let tasks = std::fs::read_dir(format!("/proc/{}/task", holder.pid())).unwrap();
    let tasks = tasks.map(|task| task.unwrap().file_name().into_string().unwrap());
    let thread = tasks
        .map(|task| task.parse::<u32>().unwrap())
        .find(|task| *task != holder.pid())
        .unwrap();
    let found = reason(thread);
    assert!(
        matches!(found, UnreadReason::Thread(leader) if leader == holder.pid()),
        "{found}"
    );
}

#[test]
fn the_list_has_this_process_and_its_children() {
    let child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let all = process_list::all_processes().unwrap();
    assert!(all.is_sorted());
    assert!(all.contains(&std::process::id()) && all.contains(&child.id()));
    let below = process_list::descendants(std::process::id()).unwrap();
    assert!(below.iter().any(|(pid, _)| *pid == child.id()));
    let mut child = child;
    drop(child.stdin.take());
    child.wait().unwrap();
}
