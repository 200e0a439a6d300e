//! Builds with bad intentions, a promise a file. Those that once succeeded against another build system are named by their
//! number.

mod device_nodes;
mod disk_bomb;
mod executable;
mod extended_attributes;
mod facilities;
mod fork_bomb;
mod hard_links;
mod privileges;
mod removal;
mod request;
mod setuid_files;
