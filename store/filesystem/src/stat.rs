//! Metadata of one object of a file system.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The bits of a mode that are permissions: read, write and execute, set-user-id, set-group-id and
/// sticky.
pub const PERMISSIONS: u32 = 0o7777;

/// The longest name of an extended attribute, in bytes, as Linux has it.
pub const XATTR_NAME_BYTES_MAX: usize = 255;

/// The longest value of an extended attribute, in bytes, as Linux has it.
pub const XATTR_VALUE_BYTES_MAX: usize = 64 << 10;

/// Metadata of a file, a directory or another object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stat {
    /// Permissions, of [`PERMISSIONS`].
    pub mode: u32,
    /// Number of the owner.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
    /// Time of the last change of the contents.
    pub mtime: Time,
    /// Extended attributes by name, the name with its namespace: `security.capability`.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Metadata that no file system can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatError {
    #[error("the mode {mode:#o} has bits that are not permissions")]
    Mode { mode: u32 },
    #[error("the time has {nanoseconds} nanoseconds, which must be below 1000000000")]
    Nanoseconds { nanoseconds: u32 },
    #[error("the extended attribute `{}` is not a name of 1 to 255 bytes without `=` and zero byte", name.escape_ascii())]
    XattrName { name: Vec<u8> },
    #[error("the extended attribute `{}` has more than 65536 bytes", name.escape_ascii())]
    XattrValue { name: Vec<u8> },
}

impl Stat {
    /// Checks that a file system can have this metadata.
    ///
    /// # Errors
    /// [`StatError`] with the first part that none can have.
    pub fn check(&self) -> Result<(), StatError> {
        if self.mode & !PERMISSIONS != 0 {
            return Err(StatError::Mode { mode: self.mode });
        }
        if self.mtime.nanoseconds >= NANOSECONDS {
            return Err(StatError::Nanoseconds { nanoseconds: self.mtime.nanoseconds });
        }
        self.xattrs.iter().try_for_each(|(name, value)| check_xattr(name, value))
    }
}

/// Checks an extended attribute. A name with `=` fits neither a manifest nor a pax header.
pub fn check_xattr(name: &[u8], value: &[u8]) -> Result<(), StatError> {
    let name_fits = (1..=XATTR_NAME_BYTES_MAX).contains(&name.len()) && !name.iter().any(|byte| b"=\0".contains(byte));
    if !name_fits {
        return Err(StatError::XattrName { name: name.to_owned() });
    }
    if value.len() > XATTR_VALUE_BYTES_MAX {
        return Err(StatError::XattrValue { name: name.to_owned() });
    }
    Ok(())
}

/// Numbers of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    pub major: u32,
    pub minor: u32,
}

/// The number of nanoseconds in a second.
const NANOSECONDS: u32 = 1_000_000_000;

/// A point in time, as `timespec` has it: the nanoseconds count forward, also before 1970.
///
/// Prints as the number of seconds since 1970, with as many decimals as it needs: `-1.5` is half a
/// second before `-1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Time {
    pub seconds: i64,
    /// Fewer than a second has.
    pub nanoseconds: u32,
}

impl Time {
    pub const fn of_seconds(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = i128::from(self.seconds) * i128::from(NANOSECONDS) + i128::from(self.nanoseconds);
        let (whole, rest) =
            (total.unsigned_abs() / u128::from(NANOSECONDS), total.unsigned_abs() % u128::from(NANOSECONDS));
        if total < 0 {
            f.write_str("-")?;
        }
        write!(f, "{whole}")?;
        if rest > 0 {
            let digits = format!("{rest:09}");
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        Ok(())
    }
}

/// A text that is not a number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a number of seconds since 1970")]
pub struct TimeError;

/// Reads a decimal number of seconds. Decimals after the ninth are dropped, as file systems do not
/// keep them.
impl FromStr for Time {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let (is_negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(decimals) {
            return Err(TimeError);
        }
        let nanoseconds: i128 =
            format!("{:0<9}", &decimals[..decimals.len().min(9)]).parse().expect("nine digits are a number");
        let seconds = i128::from(whole.parse::<u64>().map_err(|_| TimeError)?);
        let total = seconds * i128::from(NANOSECONDS) + nanoseconds;
        let total = if is_negative { -total } else { total };
        let seconds = total.div_euclid(i128::from(NANOSECONDS)).try_into().map_err(|_| TimeError)?;
        let nanoseconds = u32::try_from(total.rem_euclid(i128::from(NANOSECONDS))).expect("a remainder is smaller");
        Ok(Self { seconds, nanoseconds })
    }
}

/// Metadata of objects about which nothing else is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    pub directory_mode: u32,
    pub file_mode: u32,
    pub executable_mode: u32,
    /// Permissions of devices, pipes and sockets.
    pub special_mode: u32,
}

impl Defaults {
    /// Everything belongs to root, who may write: permissions 0755 and 0644, as most systems
    /// install files.
    pub const fn writable(mtime: Time) -> Self {
        Self {
            uid: 0,
            gid: 0,
            mtime,
            directory_mode: 0o755,
            file_mode: 0o644,
            executable_mode: 0o755,
            special_mode: 0o600,
        }
    }

    /// Everything belongs to root, and nothing can be written: permissions 0555 and 0444, as in a
    /// store.
    pub const fn read_only(mtime: Time) -> Self {
        Self { directory_mode: 0o555, file_mode: 0o444, executable_mode: 0o555, ..Self::writable(mtime) }
    }

    /// Permissions that Linux shows for a symbolic link.
    pub const SYMLINK_MODE: u32 = 0o777;

    /// Returns the metadata of an object with the permissions `mode`.
    pub fn stat(&self, mode: u32) -> Stat {
        Stat { mode, uid: self.uid, gid: self.gid, mtime: self.mtime, xattrs: BTreeMap::new() }
    }
}
