//! The command line's promises, each checked on the program itself as a user runs it.
//!
//! A test is data: files, a command, and its whole output. [`workspace`] runs the program and
//! [`normal`] makes the texts of two runs equal; everything else here is cases. Builds run in the
//! real sandbox, in a root of pinned packages that the corpus names, so the first run fetches a few
//! megabytes.

mod book;
mod corpus;
mod fetchers;
mod file_urls;
mod git;
mod git_hostile;
mod git_server;
mod imports;
mod large_files;
mod modules;
mod normal;
mod personal;
mod plain_english;
mod printed_commands;
mod questions;
mod schema;
mod threat_model;
mod workspace;

/// Arguments and output.
mod cli {
    mod build;
    mod completions;
    mod config;
    mod daily;
    mod doctor;
    mod enter;
    mod eval_cache;
    mod expr;
    mod flake_lock;
    mod flake_outputs;
    mod flake_pinned;
    mod flake_references;
    mod flake_self;
    mod flake_use;
    mod inspect;
    mod names;
    mod nix_instantiate;
    mod output;
    mod prefix;
    mod profile;
    mod progress;
    mod repl;
    mod schemas;
    mod terminal;
    mod usage;
}

/// Errors, with the complete text for the user.
mod errors {
    mod audit;
    mod awaited;
    mod building;
    mod evaluation;
    mod fetching;
    mod host;
    mod union;
}

/// Builds that run and builds that are skipped.
mod builds {
    mod concurrent;
    mod early_cutoff;
    mod interrupted;
    mod ordinary_user;
    mod reproducible;
}

/// Effects of Ctrl-C, SIGTERM and SIGHUP.
mod signals {
    mod builds;
    mod endless;
    mod random;
    mod repl;
    pub mod terminal;
}

/// The store: liveness, damage, full disks.
mod store {
    mod add;
    mod damage;
    mod full_disk;
    mod gc;
    mod permissions;
    mod verify;
}
