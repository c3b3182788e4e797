//! Operations on pools whose words are the client's own, against the model.
#![cfg_attr(fuzzing, no_main)]

fuzz::target!(fuzz::client_words);
