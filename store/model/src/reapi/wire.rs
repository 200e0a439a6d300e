//! The wire format of protocol buffers, as far as messages here use it: numbers, and fields of
//! bytes.
//!
//! A field that holds its default value is left out. An element of a list, and a message that is
//! present, is written even when it is empty. The caller says which by the function it calls.

use crate::tree::Digest;

const VARINT: u8 = 0;
const BYTES: u8 = 2;

/// Appends an element of a list, or a message that is present.
pub(super) fn element(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | BYTES);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a single string; the default, an empty one, is left out.
pub(super) fn string(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        element(out, field, bytes);
    }
}

/// Appends a single number; the default, zero, is left out.
pub(super) fn number(out: &mut Vec<u8>, field: u8, value: u64) {
    if value != 0 {
        out.push(field << 3 | VARINT);
        varint(out, value);
    }
}

/// Appends a message `Digest`.
pub(super) fn digest(out: &mut Vec<u8>, field: u8, digest: &Digest, size: u64) {
    let mut message = Vec::with_capacity(80);
    string(&mut message, 1, digest.hex().as_bytes());
    number(&mut message, 2, size);
    element(out, field, &message);
}

/// Appends a message of a name and a value, both strings.
pub(super) fn pair(out: &mut Vec<u8>, field: u8, name: &[u8], value: &[u8]) {
    let mut message = Vec::with_capacity(name.len() + value.len() + 8);
    string(&mut message, 1, name);
    string(&mut message, 2, value);
    element(out, field, &message);
}

/// Appends `value` in base 128, least significant group first.
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A result of decoding; the error says how the bytes are wrong.
pub(super) type Decoded<T> = Result<T, &'static str>;

/// The value of a field.
pub(super) enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Calls `each` for every field of a message, in the order of its bytes.
pub(super) fn fields<'a>(mut bytes: &'a [u8], mut each: impl FnMut(u8, Field<'a>) -> Decoded<()>) -> Decoded<()> {
    while let Some((&key, rest)) = bytes.split_first() {
        bytes = rest;
        let value = match key & 7 {
            VARINT => Field::Number(read_varint(&mut bytes)?),
            BYTES => {
                let length = usize::try_from(read_varint(&mut bytes)?).map_err(|_| "a length is too large")?;
                if length > bytes.len() {
                    return Err("it ends within a field");
                }
                let (field, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(field)
            }
            _ => return Err("a field has a type that is not known"),
        };
        // Field numbers above 15 take more than one byte. The first of these has its top bit set
        // and matches none of ours.
        each(key >> 3, value)?;
    }
    Ok(())
}

/// Parses a message `Digest`: the digest, and the size of the bytes that it names.
pub(super) fn decode_digest(bytes: &[u8]) -> Decoded<(Digest, u64)> {
    let (mut digest, mut size) = (None, 0);
    fields(bytes, |field, value| {
        match (field, value) {
            (1, Field::Bytes(hex)) => {
                let text = std::str::from_utf8(hex).map_err(|_| "a digest is not hex")?;
                digest = Some(text.parse::<Digest>().map_err(|_| "a digest is not 64 hex digits")?);
            }
            (2, Field::Number(number)) => size = number,
            _ => return Err("a digest has a field that is not known"),
        }
        Ok(())
    })?;
    Ok((digest.ok_or("a digest is empty")?, size))
}

/// Parses what [`pair`] writes.
pub(super) fn decode_pair(bytes: &[u8]) -> Decoded<(&[u8], &[u8])> {
    let (mut name, mut value) = (&[][..], &[][..]);
    fields(bytes, |field, part| {
        match (field, part) {
            (1, Field::Bytes(bytes)) => name = bytes,
            (2, Field::Bytes(bytes)) => value = bytes,
            _ => return Err("a name with a value has a field that is not known"),
        }
        Ok(())
    })?;
    Ok((name, value))
}

/// Returns the text of a field that must be UTF-8.
pub(super) fn text(bytes: &[u8]) -> Decoded<String> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| "a text is not UTF-8")
}

fn read_varint(bytes: &mut &[u8]) -> Decoded<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or("it ends within a number")?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("a number is too large")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_fields_have_long_lengths() {
        let mut out = Vec::new();
        element(&mut out, 1, &[7; 300]);
        assert_eq!(out[..3], [0x0a, 0xac, 0x02]);
    }

    #[test]
    fn defaults_are_left_out_and_empty_elements_are_not() {
        let mut out = Vec::new();
        string(&mut out, 1, b"");
        number(&mut out, 2, 0);
        assert!(out.is_empty());
        element(&mut out, 3, b"");
        pair(&mut out, 4, b"", b"");
        assert_eq!(out, [0x1a, 0, 0x22, 0]);
    }
}
