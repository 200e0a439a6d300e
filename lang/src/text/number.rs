//! Numbers as text, in exactly the form that Nix reads and writes.

use super::grisu::{self, Digits};

/// Formats a float like C's `%.<digits>g`: at most that many digits, no trailing zeros, an exponent
/// where it is shorter.
///
/// `nix-instantiate --eval` prints floats with 6 digits.
pub fn general(value: f64, digits: usize) -> String {
    if value.is_nan() {
        return if value.is_sign_negative() { "-nan" } else { "nan" }.into();
    }
    if value.is_infinite() {
        return if value < 0.0 { "-inf" } else { "inf" }.into();
    }
    let digits = digits.max(1);
    let scientific = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').expect("the exponent format writes an e");
    let exponent: i32 = exponent.parse().expect("the exponent format writes an integer after the e");
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", without_zeros(mantissa), exponent.abs())
    } else {
        let decimals = (digits as i32 - 1 - exponent) as usize;
        without_zeros(&format!("{value:.decimals$}")).into()
    }
}

/// Formats a float with six decimals, as `toString` does.
pub fn fixed(value: f64) -> String {
    if value.is_finite() { format!("{value:.6}") } else { general(value, 6) }
}

/// Formats a finite float as JSON, with the digits that Nix writes, and with `.0` or an exponent so
/// that it parses as a float. Infinities and not-a-number are `null`.
pub fn json(value: f64) -> String {
    if !value.is_finite() {
        return "null".into();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    if value == 0.0 {
        return format!("{sign}0.0");
    }
    let Digits { text: digits, point } = grisu::digits(value.abs());
    match point {
        1..=15 => match digits.split_at_checked(point as usize) {
            Some((whole, "")) => format!("{sign}{whole}.0"),
            Some((whole, part)) => format!("{sign}{whole}.{part}"),
            None => format!("{sign}{digits:0<0$}.0", point as usize),
        },
        -3..=0 => format!("{sign}0.{}{digits}", "0".repeat(point.unsigned_abs() as usize)),
        _ => {
            let (first, rest) = digits.split_at(1);
            let dot = if rest.is_empty() { "" } else { "." };
            let exponent = point - 1;
            let exponent_sign = if exponent < 0 { '-' } else { '+' };
            format!("{sign}{first}{dot}{rest}e{exponent_sign}{:02}", exponent.abs())
        }
    }
}

/// Parses a decimal integer with an optional `-` or `+`; `None` when it is invalid or does not fit
/// in 64 bits.
pub fn parse_int(text: &[u8]) -> Option<i64> {
    str::from_utf8(text).ok()?.parse().ok()
}

fn without_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// Writes the digits of a number to the end of `digits`, and returns them.
pub(crate) fn decimal(number: i64, digits: &mut [u8; 20]) -> &[u8] {
    let mut rest = number.unsigned_abs();
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    &digits[at..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn general_is_as_in_c() {
        let cases = [
            (1.0, "1"),
            (0.1, "0.1"),
            (-1.5, "-1.5"),
            (123456789.0, "1.23457e+08"),
            (1e30, "1e+30"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (999999.5, "1e+06"),
            (100000.0, "100000"),
            (0.0, "0"),
            (-0.0, "-0"),
            (f64::INFINITY, "inf"),
        ];
        for (value, text) in cases {
            assert_eq!(general(value, 6), text, "{value:?}");
        }
    }

    #[test]
    fn json_is_as_in_nix() {
        let cases = [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-0.0, "-0.0"),
            (1e14, "100000000000000.0"),
            (1e15, "1e+15"),
            (123456789012345680.0, "1.2345678901234568e+17"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (123.0, "123.0"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            // Not the shortest digits.
            (441.120750245495_6, "441.12075024549563"),
            (-116.120669890628_2, "-116.12066989062821"),
            (f64::NAN, "null"),
        ];
        for (value, text) in cases {
            assert_eq!(json(value), text, "{value:?}");
        }
    }

    #[test]
    fn fixed_has_six_decimals() {
        assert_eq!(fixed(1.0), "1.000000");
        assert_eq!(fixed(0.1234567), "0.123457");
        assert_eq!(fixed(1e20), "100000000000000000000.000000");
    }

    #[test]
    fn ints_are_checked() {
        assert_eq!(parse_int(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_int(b"9223372036854775808"), None);
        assert_eq!(parse_int(b"1 "), None);
        assert_eq!(parse_int(b""), None);
    }
}
