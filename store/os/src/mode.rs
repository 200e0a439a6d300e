//! Permissions, named by their purpose, so that each is written once.

/// Files that their owner writes and everyone reads.
pub const FILE: u32 = 0o644;
/// Programs that their owner writes and everyone runs.
pub const EXECUTABLE: u32 = 0o755;
/// Directories that their owner writes and everyone reads.
pub const DIRECTORY: u32 = 0o755;

/// Files of one user only.
pub const PRIVATE_FILE: u32 = 0o600;
/// Directories of one user only.
pub const PRIVATE_DIRECTORY: u32 = 0o700;

/// Files of store objects, which no one writes.
pub const OBJECT_FILE: u32 = 0o444;
/// Programs of store objects.
pub const OBJECT_EXECUTABLE: u32 = 0o555;
/// Directories of store objects.
pub const OBJECT_DIRECTORY: u32 = 0o555;

/// All bits of a mode that are permissions; the others are the type of the file.
pub const PERMISSIONS: u32 = 0o7777;
/// The permission to write, of any user.
pub const WRITE: u32 = 0o222;
/// The permission to write, of users other than the owner.
pub const WRITE_BY_OTHERS: u32 = 0o022;

/// Returns true when the owner of a file may run it: the one permission that a store keeps.
pub fn is_executable(mode: u32) -> bool {
    mode & 0o100 != 0
}
