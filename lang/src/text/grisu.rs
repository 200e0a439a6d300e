//! Shortest digits of floats by Grisu2 (Florian Loitsch, “Printing Floating-Point Numbers Quickly
//! and Accurately with Integers”, 2010), which Nix prints JSON with.
//!
//! Its digits always parse to the same float. In about one of 1,000 floats they are not the
//! shortest, or not the closest of the shortest; as derivations contain such text, these digits are
//! wanted too, and not better ones.

/// The most digits of a float.
const DIGITS_MAX: usize = 17;

/// Decimal digits `d1 d2 … dn` of the number `0.d1d2…dn * 10^point`.
#[derive(Debug, PartialEq, Eq)]
pub struct Digits {
    /// At least one digit; the first is not zero.
    pub text: String,
    /// Number of digits before the decimal point, when it is from 0 to the number of digits.
    pub point: i32,
}

impl Digits {
    /// Makes the digits of `digits * 10^exponent`.
    fn new(digits: Vec<u8>, exponent: i32) -> Digits {
        let point = exponent + digits.len() as i32;
        Digits { text: String::from_utf8(digits).expect("digits are ASCII"), point }
    }
}

/// `significand * 2^exponent`
#[derive(Debug, Clone, Copy)]
struct Scaled {
    significand: u64,
    exponent: i32,
}

impl Scaled {
    /// Returns the same number with the highest bit of the significand set.
    fn normalised(self) -> Scaled {
        let shift = self.significand.leading_zeros();
        Scaled { significand: self.significand << shift, exponent: self.exponent - shift as i32 }
    }

    /// Returns the product, its significand rounded to the nearest, halves up.
    fn times(self, other: Scaled) -> Scaled {
        let product = u128::from(self.significand) * u128::from(other.significand);
        let significand = ((product + (1 << 63)) >> 64) as u64;
        Scaled { significand, exponent: self.exponent + other.exponent + 64 }
    }
}

/// Returns the digits of a finite float above zero.
pub fn digits(value: f64) -> Digits {
    const FRACTION_BITS: u32 = 52;
    const HIDDEN_BIT: u64 = 1 << FRACTION_BITS;
    let bits = value.to_bits();
    let fraction = bits & (HIDDEN_BIT - 1);
    let biased = (bits >> FRACTION_BITS) as i32;
    let value = match biased {
        0 => Scaled { significand: fraction, exponent: 1 - 1075 },
        _ => Scaled { significand: fraction | HIDDEN_BIT, exponent: biased - 1075 },
    };
    // The numbers halfway to the neighbours. The lower neighbour of a power of two is closer.
    let upper = Scaled { significand: 2 * value.significand + 1, exponent: value.exponent - 1 }.normalised();
    let lower = if fraction == 0 && biased > 1 {
        Scaled { significand: 4 * value.significand - 1, exponent: value.exponent - 2 }
    } else {
        Scaled { significand: 2 * value.significand - 1, exponent: value.exponent - 1 }
    };
    let lower = Scaled { significand: lower.significand << (lower.exponent - upper.exponent), ..upper };

    let (power, decimal_exponent) = power_for(upper.exponent);
    let value = value.normalised().times(power);
    let (lower, upper) = (lower.times(power), upper.times(power));
    // One unit inwards, as each product may be wrong by one: every number between these parses to
    // the float.
    generate(lower.significand + 1, value.significand, upper.significand - 1, upper.exponent, -decimal_exponent)
}

/// Returns the digits of `upper`, up to where the number is between the bounds, the last digit such
/// that it is as close to `value` as it gets. All three have one binary exponent, from -60 to -32.
fn generate(lower: u64, value: u64, upper: u64, exponent: i32, decimal_exponent: i32) -> Digits {
    let mut digits = Vec::with_capacity(DIGITS_MAX);
    let mut slack = upper - lower;
    let mut distance = upper - value;
    let shift = exponent.unsigned_abs();
    let one = 1u64 << shift;
    let (mut whole, mut part) = (upper >> shift, upper & (one - 1));
    let mut left = whole.ilog10() as i32 + 1;
    let mut unit = 10u64.pow(left as u32 - 1);
    while left > 0 {
        digits.push(b'0' + (whole / unit) as u8);
        whole %= unit;
        left -= 1;
        let rest = (whole << shift) + part;
        if rest <= slack {
            approach(&mut digits, distance, slack, rest, unit << shift);
            return Digits::new(digits, decimal_exponent + left);
        }
        unit /= 10;
    }
    let mut decimals = 0;
    while decimals == 0 || part > slack {
        part *= 10;
        digits.push(b'0' + (part >> shift) as u8);
        part &= one - 1;
        decimals += 1;
        slack *= 10;
        distance *= 10;
    }
    approach(&mut digits, distance, slack, part, one);
    Digits::new(digits, decimal_exponent - decimals)
}

/// Lowers the last digit while that brings the number closer to the value, which is `distance`
/// below the upper bound. The number is `rest` below it, and may be `slack` below it.
fn approach(digits: &mut [u8], distance: u64, slack: u64, mut rest: u64, unit: u64) {
    let Some(last) = digits.last_mut() else { return };
    while rest < distance
        && slack - rest >= unit
        && (rest + unit < distance || distance - rest > rest + unit - distance)
    {
        *last -= 1;
        rest += unit;
    }
}

const POWER_MIN: i32 = -300;
const POWER_STEP: i32 = 8;

/// Returns a power of ten whose product with a number of this binary exponent has an exponent from
/// -60 to -32; and its decimal exponent.
fn power_for(exponent: i32) -> (Scaled, i32) {
    let needed = -60 - exponent - 1;
    // 78913 / 2^18 is a little more than the decimal logarithm of 2.
    let decimal = needed * 78913 / (1 << 18) + i32::from(needed > 0);
    let index = (decimal - POWER_MIN + POWER_STEP - 1) / POWER_STEP;
    let decimal = POWER_MIN + index * POWER_STEP;
    // 217706 / 2^16 is the binary logarithm of 10.
    let exponent = ((decimal * 217706) >> 16) - 63;
    (Scaled { significand: POWERS[index as usize], exponent }, decimal)
}

/// Significands of 10^-300, 10^-292, …, 10^324, rounded to 64 bits.
#[rustfmt::skip]
const POWERS: [u64; 79] = [
    0xab70_fe17_c79a_c6ca, 0xff77_b1fc_bebc_dc4f, 0xbe56_91ef_416b_d60c, 0x8dd0_1fad_907f_fc3c,
    0xd351_5c28_3155_9a83, 0x9d71_ac8f_ada6_c9b5, 0xea9c_2277_23ee_8bcb, 0xaecc_4991_4078_536d,
    0x823c_1279_5db6_ce57, 0xc210_9436_4dfb_5637, 0x9096_ea6f_3848_984f, 0xd774_85cb_2582_3ac7,
    0xa086_cfcd_97bf_97f4, 0xef34_0a98_172a_ace5, 0xb238_67fb_2a35_b28e, 0x84c8_d4df_d2c6_3f3b,
    0xc5dd_4427_1ad3_cdba, 0x936b_9fce_bb25_c996, 0xdbac_6c24_7d62_a584, 0xa3ab_6658_0d5f_daf6,
    0xf3e2_f893_dec3_f126, 0xb5b5_ada8_aaff_80b8, 0x8762_5f05_6c7c_4a8b, 0xc9bc_ff60_34c1_3053,
    0x964e_858c_91ba_2655, 0xdff9_7724_7029_7ebd, 0xa6df_bd9f_b8e5_b88f, 0xf8a9_5fcf_8874_7d94,
    0xb944_7093_8fa8_9bcf, 0x8a08_f0f8_bf0f_156b, 0xcdb0_2555_6531_31b6, 0x993f_e2c6_d07b_7fac,
    0xe45c_10c4_2a2b_3b06, 0xaa24_2499_6973_92d3, 0xfd87_b5f2_8300_ca0e, 0xbce5_0864_9211_1aeb,
    0x8cbc_cc09_6f50_88cc, 0xd1b7_1758_e219_652c, 0x9c40_0000_0000_0000, 0xe8d4_a510_0000_0000,
    0xad78_ebc5_ac62_0000, 0x813f_3978_f894_0984, 0xc097_ce7b_c907_15b3, 0x8f7e_32ce_7bea_5c70,
    0xd5d2_38a4_abe9_8068, 0x9f4f_2726_179a_2245, 0xed63_a231_d4c4_fb27, 0xb0de_6538_8cc8_ada8,
    0x83c7_088e_1aab_65db, 0xc45d_1df9_4271_1d9a, 0x924d_692c_a61b_e758, 0xda01_ee64_1a70_8dea,
    0xa26d_a399_9aef_774a, 0xf209_787b_b47d_6b85, 0xb454_e4a1_79dd_1877, 0x865b_8692_5b9b_c5c2,
    0xc835_53c5_c896_5d3d, 0x952a_b45c_fa97_a0b3, 0xde46_9fbd_99a0_5fe3, 0xa59b_c234_db39_8c25,
    0xf6c6_9a72_a398_9f5c, 0xb7dc_bf53_54e9_bece, 0x88fc_f317_f222_41e2, 0xcc20_ce9b_d35c_78a5,
    0x9816_5af3_7b21_53df, 0xe2a0_b5dc_971f_303a, 0xa8d9_d153_5ce3_b396, 0xfb9b_7cd9_a4a7_443c,
    0xbb76_4c4c_a7a4_4410, 0x8bab_8eef_b640_9c1a, 0xd01f_ef10_a657_842c, 0x9b10_a4e5_e991_3129,
    0xe710_9bfb_a19c_0c9d, 0xac28_20d9_623b_f429, 0x8044_4b5e_7aa7_cf85, 0xbf21_e440_03ac_dd2d,
    0x8e67_9c2f_5e44_ff8f, 0xd433_179d_9c8c_b841, 0x9e19_db92_b4e3_1ba9,
];

#[cfg(test)]
mod tests {
    use super::digits;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    proptest! {
        #[test]
        fn digits_parse_to_the_same_float(bits in any::<u64>()) {
            let value = f64::from_bits(bits).abs();
            if value.is_finite() && value != 0.0 {
                let digits = digits(value);
                let text = format!("0.{}e{}", digits.text, digits.point);
                prop_assert_eq!(text.parse(), Ok(value));
            }
        }
    }

    #[test]
    fn powers_of_two_and_their_neighbours_parse_to_the_same_float() {
        let powers = (0..52).map(|bit| 1 << bit).chain((1..2047).map(|exponent| exponent << 52));
        for bits in powers.flat_map(|bits: u64| [bits - 1, bits, bits + 1]).filter(|&bits| bits > 0) {
            let value = f64::from_bits(bits);
            let digits = digits(value);
            assert_eq!(format!("0.{}e{}", digits.text, digits.point).parse(), Ok(value), "{value:?}");
        }
    }
}
