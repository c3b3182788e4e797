//! How long tests run: the environment's say.

/// `ZS_LONG`: a factor for the length of every test; 1 if it is not set.
pub fn long_factor() -> u64 {
    let set = std::env::var("ZS_LONG").ok();
    set.and_then(|factor| factor.parse().ok()).unwrap_or(1)
}

/// Returns a test's length: `normal` times `ZS_LONG`, and a quarter of that where `ZS_SANITIZER` is
/// set.
pub fn scaled(normal: u64) -> u64 {
    let length = normal * long_factor();
    if std::env::var_os("ZS_SANITIZER").is_some() {
        length.div_ceil(4)
    } else {
        length
    }
}
