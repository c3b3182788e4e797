//! A dense allocator for compressed pages and other small blobs, after the Linux kernel's
