//! Links nothing but this program: no C library, no start-up files, no dynamic linker.

fn main() {
    for argument in [
        "-nostdlib",
        "-static",
        "-no-pie",
        // The compiled `core` names the function that unwinds a stack; here nobody ever does.
        "-Wl,--defsym=rust_eh_personality=0",
    ] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
