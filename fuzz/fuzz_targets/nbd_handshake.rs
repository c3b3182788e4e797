//! Any bytes as what a client of the NBD server sends: handshake.
#![cfg_attr(fuzzing, no_main)]

fuzz::target!(fuzz::nbd_handshake);
