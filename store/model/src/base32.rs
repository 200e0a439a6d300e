//! Nix's base 32: the alphabet without `e o u t`, least significant digit last, bytes read as a
//! little-endian number.
//!
//! The text of a digest therefore sorts as its bytes do when compared from the last to the first.

/// The thirty-two digits, in ascending order of value and of ASCII.
pub const ALPHABET: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";

const INVALID: u8 = 0xff;

const VALUES: [u8; 256] = {
    let mut values = [INVALID; 256];
    let mut i = 0;
    while i < 32 {
        values[ALPHABET[i] as usize] = i as u8;
        i += 1;
    }
    values
};

/// Reasons why a text is not base 32.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Base32Error {
    /// A byte outside the alphabet.
    #[error("`{}` at position {position} is not a digit of Nix base 32 (0-9 and a-z without e, o, u, t)", char::from(*byte))]
    Digit { byte: u8, position: usize },
    /// No number of bytes has a text of this length.
    #[error("{length} digits are not the length of any base 32 text")]
    Length { length: usize },
    /// The first digit carries bits beyond the last byte.
    #[error("the first digit of the base 32 text carries bits that no byte holds")]
    TrailingBits,
}

/// Returns the number of digits of `bytes` bytes.
pub const fn encoded_len(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

/// Returns the text of `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = vec![0; encoded_len(bytes.len())];
    encode_into(bytes, &mut text);
    String::from_utf8(text).expect("digits are ASCII")
}

/// Writes the text of `bytes` to `text`, whose length must match.
pub(crate) fn encode_into(bytes: &[u8], text: &mut [u8]) {
    // Five bytes are eight digits.
    for (bytes, digits) in bytes.chunks(5).zip(text.rchunks_mut(8)) {
        let number = bytes.iter().rev().fold(0, |number: u64, &byte| number << 8 | u64::from(byte));
        for (n, digit) in digits.iter_mut().rev().enumerate() {
            *digit = ALPHABET[(number >> (5 * n) & 0x1f) as usize];
        }
    }
}

/// Returns true when `byte` is a digit.
pub const fn is_digit(byte: u8) -> bool {
    VALUES[byte as usize] != INVALID
}

/// Returns the bytes of `text`.
///
/// # Errors
/// When a byte is not a digit, the length is impossible, or bits are left over: each value has
/// exactly one text.
pub fn decode(text: &[u8]) -> Result<Vec<u8>, Base32Error> {
    let size = text.len() * 5 / 8;
    if encoded_len(size) != text.len() {
        return Err(Base32Error::Length { length: text.len() });
    }
    let mut bytes = vec![0u8; size];
    for (n, (position, &byte)) in text.iter().enumerate().rev().enumerate() {
        let digit = VALUES[byte as usize];
        if digit == INVALID {
            return Err(Base32Error::Digit { byte, position });
        }
        let bit = n * 5;
        let (i, shift) = (bit / 8, bit % 8);
        let spread = u16::from(digit) << shift;
        if let Some(slot) = bytes.get_mut(i) {
            *slot |= spread as u8;
        }
        let carry = (spread >> 8) as u8;
        match bytes.get_mut(i + 1) {
            Some(slot) => *slot |= carry,
            None if carry != 0 => return Err(Base32Error::TrailingBits),
            None => {}
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_value() {
        // nix-hash --type sha1 --to-base32 800d59cfcd3c05e900cb4e214be48f6b886a08df
        let bytes = data_encoding::HEXLOWER.decode(b"800d59cfcd3c05e900cb4e214be48f6b886a08df").unwrap();
        assert_eq!(encode(&bytes), "vw46m23bizj4n8afrc0fj19wrp7mj3c0");
    }

    #[test]
    fn other_texts_are_refused() {
        assert_eq!(decode(b"0e"), Err(Base32Error::Digit { byte: b'e', position: 1 }));
        assert_eq!(decode(b"000"), Err(Base32Error::Length { length: 3 }));
        assert_eq!(decode(b"zz"), Err(Base32Error::TrailingBits));
    }

    proptest! {
        #[test]
        fn round_trip(bytes in prop::collection::vec(any::<u8>(), 0..70)) {
            prop_assert_eq!(decode(encode(&bytes).as_bytes()).unwrap(), bytes);
        }

        #[test]
        fn text_sorts_as_reversed_bytes(a: [u8; 20], b: [u8; 20]) {
            prop_assert_eq!(encode(&a).cmp(&encode(&b)), a.iter().rev().cmp(b.iter().rev()));
        }
    }
}
