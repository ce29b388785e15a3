//! Quantities of Kubernetes, such as `500m`, `2` and `1.5Gi`.

/// The value in thousandths; `None` if it is not a quantity.
fn thousandths(text: &str) -> Option<i128> {
    let digits = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-' || c == '+'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let factor: i128 = match suffix {
        "m" => 1,
        "" => 1000,
        "k" => 1000 * 1000,
        "M" => 1000 * 1000_i128.pow(2),
        "G" => 1000 * 1000_i128.pow(3),
        "T" => 1000 * 1000_i128.pow(4),
        "Ki" => 1000 << 10,
        "Mi" => 1000 << 20,
        "Gi" => 1000 << 30,
        "Ti" => 1000 << 40,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let whole: i128 = format!("{whole}{fraction}").parse().ok()?;
    Some(whole.checked_mul(factor)?.div_ceil_by(scale))
}

/// How often `divisor` is in `quantity`, rounded up, as a `resourceFieldRef` gives it.
pub(super) fn divided(quantity: &str, divisor: &str) -> Result<i128, String> {
    let value = thousandths(quantity).ok_or_else(|| format!("\"{quantity}\" is not a quantity"))?;
    match thousandths(divisor) {
        Some(divisor) if divisor > 0 => Ok(value.div_ceil_by(divisor)),
        // An absent divisor is sent as 0.
        Some(_) => Ok(value.div_ceil_by(1000)),
        None => Err(format!("\"{divisor}\" is not a quantity")),
    }
}

trait DivCeil {
    fn div_ceil_by(self, divisor: Self) -> Self;
}

impl DivCeil for i128 {
    fn div_ceil_by(self, divisor: Self) -> Self {
        let rest = i128::from(self % divisor != 0 && (self > 0) == (divisor > 0));
        self / divisor + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_divided_and_rounded_up() {
        for (quantity, divisor, expected) in [
            ("1500m", "1", 2),
            ("1500m", "1m", 1500),
            ("2", "0", 2),
            ("1.5Gi", "1", 3 << 29),
            ("1Gi", "1Mi", 1024),
            ("1G", "1Mi", 954),
        ] {
            assert_eq!(divided(quantity, divisor), Ok(expected), "{quantity}");
        }
        assert!(divided("much", "1").is_err());
    }
}
