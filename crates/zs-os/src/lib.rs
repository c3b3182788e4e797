//! Every system call: backings, host hooks, resident-memory meter
