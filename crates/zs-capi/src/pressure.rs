//! A call when memory is short.

use crate::border::{Out, answer, text};
use crate::registry::Registry;
use crate::result::zs_result::{ZS_INTERNAL, ZS_NULL};
use crate::result::{invalid, system, zs_result};
use crate::versioned::{self, Versioned};
use core::ffi::{c_char, c_void};
use core::mem::size_of;
use core::ptr;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;
use zs_os::{
    MemoryEvents, Pressure, PressureError, PressureSource, PressureWatcher, StallTrigger,
    own_cgroup,
};

/// A source of signs that memory is short.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum zs_pressure_source {
    /// Time that tasks of the whole system lose: `/proc/pressure/memory`.
    ZS_PRESSURE_SYSTEM_STALLS = 0,
    /// Time that tasks of a control group (version 2) lose: its `memory.pressure`.
    ZS_PRESSURE_GROUP_STALLS = 1,
    /// Limits that a control group (version 2) meets: its `memory.events`.
    ZS_PRESSURE_GROUP_EVENTS = 2,
}

/// The options of a watcher. Set all of it to zero first: a field of 0 is the default.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct zs_pressure_options {
    /// A `zs_pressure_source`. Default: `ZS_PRESSURE_SYSTEM_STALLS`.
    pub source: u64,
    /// The folder of the control group. Default, with NULL: the one that the process is in.
    pub group: *const c_char,
    /// Stalls: call when so many microseconds were lost ... Default: 200000.
    pub stall_us: u64,
    /// ... within so many, 500000 to 10000000; without privilege a multiple of 2000000. Default:
    /// 2000000.
    pub window_us: u64,
    /// Events: the least time between two calls, in milliseconds, 1 to 3600000. Default: 100.
    pub interval_ms: u64,
}

// SAFETY: a pointer and four numbers without padding; all of them were in the first version.
unsafe impl Versioned for zs_pressure_options {
    const FIRST_SIZE: usize = 40;
    const NAME: &str = "zs_pressure_options";
}

/// The reason of a call.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum zs_pressure_kind {
    /// Tasks lost as much time as was asked for.
    ZS_PRESSURE_STALLED = 0,
    /// Limits were met: the counters say how often since the last call.
    ZS_PRESSURE_EVENTS = 1,
    /// The last call: nothing is watched any more, and `why` says why not.
    ZS_PRESSURE_ENDED = 2,
}

/// One event. Later versions may add fields at the end.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct zs_pressure {
    /// Bytes of this struct.
    pub size: u64,
    /// A `zs_pressure_kind`.
    pub kind: u64,
    /// Events: how often memory below `memory.low` was reclaimed.
    pub low: u64,
    /// Events: how often `memory.high` was exceeded.
    pub high: u64,
    /// Events: how often `memory.max` was about to be exceeded.
    pub max: u64,
    /// Events: how often nothing could be reclaimed at `memory.max`.
    pub oom: u64,
    /// Ended: why, in English; else NULL. Valid until the call returns.
    pub why: *const c_char,
}

/// Called on a thread of the library's, one call after the other: the context that was handed in,
/// and what has happened. It may take its time and use pools and arenas (`zs_pool_shrink()`,
/// `zs_arena_trim()`), and stop its own watcher; it must return, neither by a C++ exception nor by
/// `longjmp`.
pub type zs_pressure_fn =
    Option<unsafe extern "C" fn(context: *mut c_void, pressure: *const zs_pressure)>;

/// Something that calls when memory is short. Made by `zs_pressure_watch()`.
#[derive(Debug)]
pub struct zs_watcher(());

/// The object that a `zs_watcher *` names.
struct WatcherEntry {
    watcher: PressureWatcher,
    /// The process that has the thread.
    process: u32,
}

static WATCHERS: Registry<WatcherEntry, 64> = Registry::new();

/// The context of the program's function.
struct Context(*mut c_void);

// SAFETY: only handed back to the program, which says by `zs_pressure_watch` that the library's
// thread may.
unsafe impl Send for Context {}

impl zs_pressure_options {
    /// # Safety
    /// `group` is NULL, or a text that nobody changes meanwhile.
    unsafe fn checked(&self) -> Result<PressureSource, zs_result> {
        use zs_pressure_source as Source;
        let micros =
            |given, default| Duration::from_micros(if given == 0 { default } else { given });
        let trigger = || {
            let (stall, window) = (
                micros(self.stall_us, 200_000),
                micros(self.window_us, 2_000_000),
            );
            StallTrigger::new(stall, window).map_err(|error| invalid(error.to_string()))
        };
        // SAFETY: by this function's contract.
        let group = || unsafe { self.folder() };
        const SYSTEM_STALLS: u64 = Source::ZS_PRESSURE_SYSTEM_STALLS as u64;
        const GROUP_STALLS: u64 = Source::ZS_PRESSURE_GROUP_STALLS as u64;
        const GROUP_EVENTS: u64 = Source::ZS_PRESSURE_GROUP_EVENTS as u64;
        Ok(match self.source {
            SYSTEM_STALLS => PressureSource::SystemStalls(trigger()?),
            GROUP_STALLS => PressureSource::GroupStalls {
                group: group()?,
                trigger: trigger()?,
            },
            GROUP_EVENTS => PressureSource::GroupEvents {
                group: group()?,
                interval: Duration::from_millis(match self.interval_ms {
                    0 => 100,
                    ms => ms,
                }),
            },
            other => return Err(invalid(format!("source {other}: 0 to 2 are allowed"))),
        })
    }

    /// # Safety
    /// As for [`checked`](Self::checked).
    unsafe fn folder(&self) -> Result<PathBuf, zs_result> {
        if self.group.is_null() {
            return own_cgroup().map_err(system);
        }
        // SAFETY: a text by this function's contract.
        let folder = unsafe { text(self.group) };
        Ok(OsStr::from_bytes(folder.to_bytes()).into())
    }
}

/// Has `call` called with `context` whenever memory is short, until `zs_watcher_stop()`. `options`
/// may be NULL (then `size` is ignored), else `size` is `sizeof *options`. The first call may come
/// before `*watcher` is written.
///
/// Answers `ZS_NULL`, `ZS_INVALID`, `ZS_SYSTEM` (the kernel or the group has no such file, or
/// refuses it; no thread), `ZS_TOO_MANY` (64 watchers).
///
/// # Safety
/// As for all functions (see `docs/c.md`); `call` keeps to what its type says, and may be called
/// with `context` on another thread until the watcher was stopped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_pressure_watch(
    options: *const zs_pressure_options,
    size: usize,
    call: zs_pressure_fn,
    context: *mut c_void,
    watcher: *mut *mut zs_watcher,
) -> zs_result {
    answer(|| {
        // SAFETY: by this function's contract.
        let place = unsafe { Out::new(watcher) }?;
        let call = call.ok_or(ZS_NULL)?;
        let options = if options.is_null() {
            zs_pressure_options {
                source: 0,
                group: ptr::null(),
                stall_us: 0,
                window_us: 0,
                interval_ms: 0,
            }
        } else {
            // SAFETY: by this function's contract.
            unsafe { versioned::options(options, size) }?
        };
        // SAFETY: by this function's contract.
        let source = unsafe { options.checked() }?;
        let context = Context(context);
        let tell = move |pressure: &Pressure| {
            let context = &context;
            told(pressure, |told| {
                // SAFETY: by the contract of `zs_pressure_watch`; the struct lives until it
                // returns.
                unsafe { call(context.0, told) };
            });
        };
        let watcher = PressureWatcher::spawn(&source, tell).map_err(|error| match error {
            PressureError::OutOfBounds { .. } => invalid(error.to_string()),
            other => system(other),
        })?;
        place.set(WATCHERS.insert(WatcherEntry {
            watcher,
            process: std::process::id(),
        })?);
        Ok(())
    })
}

/// Tells what has happened in C's words.
fn told(pressure: &Pressure, tell: impl FnOnce(*const zs_pressure)) {
    use zs_pressure_kind as Kind;
    let (mut events, mut why) = (MemoryEvents::default(), None);
    let kind = match pressure {
        Pressure::Stalled => Kind::ZS_PRESSURE_STALLED,
        Pressure::Events(met) => {
            events = *met;
            Kind::ZS_PRESSURE_EVENTS
        }
        Pressure::Ended(error) => {
            why = Some(CString::new(error.to_string().replace('\0', " ")).unwrap_or_default());
            Kind::ZS_PRESSURE_ENDED
        }
        // A source that this interface does not offer.
        _ => return,
    };
    tell(&zs_pressure {
        size: size_of::<zs_pressure>() as u64,
        kind: kind as u64,
        low: events.low,
        high: events.high,
        max: events.max,
        oom: events.oom,
        why: why.as_ref().map_or(ptr::null(), |why| why.as_ptr()),
    });
}

/// Stops a watcher: its function is not called any more once this has returned. Waits for a call
/// that is under way, unless it is that call which stops it.
///
/// Answers `ZS_NULL`, `ZS_GONE`.
///
/// # Safety
/// As for all functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zs_watcher_stop(watcher: *mut zs_watcher) -> zs_result {
    answer(|| {
        // SAFETY: nobody ever refers to an entry but whoever takes it, here.
        let entry = unsafe { WATCHERS.take(watcher) }?;
        if entry.process != std::process::id() {
            // A forked child has no such thread, and would wait for it for ever.
            core::mem::forget(entry.watcher);
            return Ok(());
        }
        entry.watcher.stop().map_err(|_| ZS_INTERNAL)
    })
}

#[cfg(all(test, not(zs_loom)))]
mod tests {
    use super::*;
    use core::ffi::CStr;

    #[test]
    fn what_happened_is_told_in_cs_words() {
        let events = MemoryEvents {
            low: 1,
            high: 2,
            max: 3,
            oom: 4,
        };
        let ended = PressureError::GroupRemoved {
            path: "/group".into(),
        };
        let mut seen = Vec::new();
        for pressure in [
            Pressure::Stalled,
            Pressure::Events(events),
            Pressure::Ended(ended),
        ] {
            told(&pressure, |told| {
                // SAFETY: told with a struct that lives meanwhile.
                let told = unsafe { *told };
                // SAFETY: NULL or a text that lives meanwhile.
                let why = unsafe { text(told.why) }.to_string_lossy().into_owned();
                seen.push((told.kind, [told.low, told.high, told.max, told.oom], why));
                assert_eq!(told.size, 56);
            });
        }
        let none = || CStr::to_string_lossy(c"").into_owned();
        let removed = "/group: the group was removed".to_owned();
        let expected = [
            (0, [0; 4], none()),
            (1, [1, 2, 3, 4], none()),
            (2, [0; 4], removed),
        ];
        assert_eq!(seen, expected);
    }
}
