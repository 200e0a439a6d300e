//! The environment and the end of every build, a promise a file.

mod accounting;
mod addresses;
mod binds;
mod cancellation;
mod clocks;
mod devices;
mod errors;
mod host_files;
mod huge_pages;
mod identity;
mod inputs;
mod layers;
mod limits;
mod links_in_layers;
mod network;
mod out_of_memory;
mod outcome;
mod priority;
mod probe;
mod processes;
mod silence;
mod surroundings;
mod temporary_directories;
mod timeout;
mod writable_places;
