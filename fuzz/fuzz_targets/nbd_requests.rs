//! Any bytes as what a client of the NBD server sends: requests.
#![cfg_attr(fuzzing, no_main)]

fuzz::target!(fuzz::nbd_requests);
