//! Numbers from their digits: a JSON text may write a whole number as `5`, `5.0`, `5e0` or `0.5e1`, and a double of it
//! would round what is larger than 2^53.

/// The most digits of a number that 128 bits hold.
const MAX_DIGITS: usize = 38;

/// Why a text is not a whole number that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotInteger {
    /// It is no number, or has a fraction.
    Form,
    /// It is whole, and larger than any field.
    Range,
}

/// The whole number that `text` is, in any spelling that JSON has for it.
pub(super) fn integer(text: &str) -> Result<i128, NotInteger> {
    let (is_negative, magnitude) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match magnitude.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, power_of_ten(exponent)?),
        None => (magnitude, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return Err(NotInteger::Form),
        Some(parts) => parts,
        None => (mantissa, ""),
    };
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return Err(NotInteger::Form);
    }
    let digits = [whole, fraction].concat();
    let digits = digits.trim_start_matches('0');
    let trailing = digits.len() - digits.trim_end_matches('0').len();
    let digits = &digits[..digits.len() - trailing];
    if digits.is_empty() {
        return Ok(0);
    }
    let zeros = exponent.saturating_add(trailing as i64).saturating_sub(fraction.len() as i64);
    let zeros = usize::try_from(zeros).map_err(|_| NotInteger::Form)?;
    if zeros.saturating_add(digits.len()) > MAX_DIGITS {
        return Err(NotInteger::Range);
    }
    let value = digits.parse::<i128>().map_err(|_| NotInteger::Form)? * 10i128.pow(zeros as u32);
    Ok(if is_negative { -value } else { value })
}

/// An exponent; one of more than 18 digits is as good as any that large.
fn power_of_ten(text: &str) -> Result<i64, NotInteger> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotInteger::Form);
    }
    let magnitude = digits.parse::<i64>().unwrap_or(i64::MAX);
    Ok(if text.starts_with('-') { -magnitude } else { magnitude })
}

/// The double that `text` is. `None` when it is no number, or larger than any double.
pub(super) fn double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        // Rust also reads "inf", "nan" and "infinity", which JSON's mapping does not have.
        _ if text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) => {
            text.parse().ok().filter(|value: &f64| value.is_finite())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_whole_number_is_one_in_any_spelling() {
        for text in ["5", "5.0", "5.000", "5e0", "50e-1", "0.5e1", "0.05E+2", "005"] {
            assert_eq!(integer(text), Ok(5), "{text}");
        }
        for text in ["0", "-0", "0.0", "0e5", "0e-99999999999999999999", "-0.00e7"] {
            assert_eq!(integer(text), Ok(0), "{text}");
        }
        assert_eq!(integer("1.790000000000000001e18"), Ok(1_790_000_000_000_000_001));
        assert_eq!(integer("-9223372036854775808"), Ok(i64::MIN.into()));
        assert_eq!(integer("1e37"), Ok(10i128.pow(37)));
    }

    #[test]
    fn what_is_no_whole_number_is_told_from_what_is_too_large() {
        for text in [
            "", "-", ".", "5.", ".5", "1.5", "15e-1", "1e", "1e+", "e1", "--1", "+1", " 1", "1 ", "0x10",
            "1_0", "١",
        ] {
            assert_eq!(integer(text), Err(NotInteger::Form), "{text}");
        }
        for text in ["1e38", "1e99999999999999999999", "999999999999999999999999999999999999999"] {
            assert_eq!(integer(text), Err(NotInteger::Range), "{text}");
        }
        assert_eq!(integer("1e-99999999999999999999"), Err(NotInteger::Form));
    }

    #[test]
    fn a_double_beyond_all_doubles_is_none() {
        assert_eq!(double("1e400"), None);
        assert_eq!(double("1e-400"), Some(0.0));
        assert_eq!(double("inf"), None);
    }

    proptest! {
        #[test]
        fn moving_the_point_changes_nothing(value: i64, shift in 0i32..30) {
            let text = value.to_string();
            let spelled = [format!("{text}.{}", "0".repeat(shift as usize + 1)), format!("{text}{}e-{shift}", "0".repeat(shift as usize))];
            for spelled in spelled {
                // More than 38 digits in all are more than there can be of a field's number.
                prop_assert_eq!(integer(&spelled), Ok(i128::from(value)), "{}", spelled);
            }
        }
    }
}
