//! What the program asks of its machine: a start, a line written, an end. Here that is Linux, by
//! raw system calls; a kernel or a firmware puts its own in place of this file.

use core::arch::{asm, global_asm};
use core::fmt;

// The numbers of the two calls.
const WRITE: usize = if cfg!(target_arch = "x86_64") { 1 } else { 64 };
const EXIT_GROUP: usize = if cfg!(target_arch = "x86_64") {
    231
} else {
    94
};

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
compile_error!("this program runs on Linux, on x86_64 or aarch64");

/// The exit status after a panic; failed checks have lower ones.
const PANICKED: u8 = 101;

// The kernel starts a process with an aligned stack and nothing to return to.
#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "call {main}", "ud2", main = sym start);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, xzr", "mov x30, xzr", "bl {main}", "brk 1",
    main = sym start);

extern "C" fn start() -> ! {
    exit(crate::main())
}

#[panic_handler]
fn panicked(info: &core::panic::PanicInfo<'_>) -> ! {
    print(format_args!("freestanding: {info}\n"));
    exit(PANICKED)
}

/// Ends the process.
fn exit(status: u8) -> ! {
    loop {
        // SAFETY: `exit_group` touches no memory of the program.
        unsafe { system_call(EXIT_GROUP, [status.into(), 0, 0]) };
    }
}

/// Writes to the standard output; what cannot be written is lost.
pub(crate) fn print(text: fmt::Arguments<'_>) {
    let _ = fmt::write(&mut Output, text);
}

struct Output;

impl fmt::Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let arguments = [1, rest.as_ptr().expose_provenance(), rest.len()];
            // SAFETY: `write` reads the bytes of `rest` and changes nothing.
            let written = unsafe { system_call(WRITE, arguments) };
            let written = usize::try_from(written).ok().filter(|&bytes| bytes > 0);
            let written = written.ok_or(fmt::Error)?;
            rest = rest.get(written..).ok_or(fmt::Error)?;
        }
        Ok(())
    }
}

/// A system call with three arguments; the answer is negative if it failed.
///
/// # Safety
/// The call touches only memory that its arguments may be used for.
unsafe fn system_call(number: usize, [a, b, c]: [usize; 3]) -> isize {
    let answer;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the calling convention of Linux, which changes rax, rcx and r11; the rest by
    // contract.
    unsafe {
        asm!("syscall", inlateout("rax") number => answer, in("rdi") a, in("rsi") b, in("rdx") c,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the calling convention of Linux, which changes x0 alone; the rest by contract.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a => answer, in("x1") b, in("x2") c,
            options(nostack));
    }
    answer
}
