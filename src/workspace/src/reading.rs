//! How hosts read files: no more at once than there is memory for.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

use lang::host::HostResult;

/// Of so many bytes are the pieces that a file is read in.
const PIECE_BYTES: usize = 256 << 10;

/// All bytes of a file.
///
/// # Errors
/// When it cannot be read; [`ErrorKind::FileTooLarge`] when it has more than `bytes_max`, before any is read where its status tells.
pub fn read(place: &Path, bytes_max: usize) -> Result<Vec<u8>> {
    let file = File::open(place)?;
    let size = file.metadata()?.len();
    let expected = usize::try_from(size).ok().filter(|&size| size <= bytes_max).ok_or_else(|| {
        let text = format!("its {size} bytes are more than the {bytes_max} that the evaluation may use");
        Error::new(ErrorKind::FileTooLarge, text)
    })?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(expected)?;
    // Devices and pipes do not tell, and files grow.
    file.take((bytes_max as u64).saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        let text = format!("it has more than the {bytes_max} bytes that the evaluation may use");
        return Err(Error::new(ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// Gives the bytes of a file piece by piece, until `take` fails: then what it says is the inner result.
///
/// # Errors
/// When the file cannot be read.
pub fn read_in_pieces(place: &Path, take: &mut dyn FnMut(&[u8]) -> HostResult<()>) -> Result<HostResult<()>> {
    let mut file = File::open(place)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = match file.read(&mut piece) {
            Ok(0) => return Ok(Ok(())),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if let Err(error) = take(&piece[..count]) {
            return Ok(Err(error));
        }
    }
}
