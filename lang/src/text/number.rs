//! Numbers as text, digit for digit as Nix writes and reads them.

/// Writes a float as C's `%.<digits>g` does: at most so many digits, no trailing zeros, an exponent where it is shorter.
///
/// With 6 digits that is how `nix-instantiate --eval` prints floats.
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

fn without_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
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
}
