//! Letters with marks as plain ones: `ação` as `acao`.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

/// The text with Latin letters outside of ASCII written in ASCII, as far as they have such a form; other scripts stay.
#[must_use]
pub fn fold_to_ascii(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut folded = String::with_capacity(text.len());
    text.chars().for_each(|c| fold(c, &mut folded));
    Cow::Owned(folded)
}

fn fold(c: char, out: &mut String) {
    if let Some(plain) = of_no_parts(c) {
        out.push_str(plain);
        return;
    }
    // Latin letters with marks, ligatures and full-width forms: a plain letter and marks, which fall away.
    let latin = matches!(c, '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' | '\u{fb00}'..='\u{fb06}' | '\u{ff01}'..='\u{ff5e}');
    let before = out.len();
    if latin {
        out.extend(std::iter::once(c).nfkd().filter(char::is_ascii));
    }
    if out.len() == before {
        out.push(c);
    }
}

/// Letters that Unicode does not take apart, in the form of Lucene's ASCIIFoldingFilter.
fn of_no_parts(c: char) -> Option<&'static str> {
    Some(match c {
        'ß' => "ss",
        'ẞ' => "SS",
        'æ' | 'ǽ' | 'ǣ' => "ae",
        'Æ' | 'Ǽ' | 'Ǣ' => "AE",
        'œ' => "oe",
        'Œ' => "OE",
        'ø' | 'ǿ' => "o",
        'Ø' | 'Ǿ' => "O",
        'đ' | 'ð' => "d",
        'Đ' | 'Ð' => "D",
        'þ' => "th",
        'Þ' => "TH",
        'ł' => "l",
        'Ł' => "L",
        'ħ' => "h",
        'Ħ' => "H",
        'ı' => "i",
        'ŧ' => "t",
        'Ŧ' => "T",
        'ŋ' => "n",
        'Ŋ' => "N",
        'ĸ' => "q",
        'ƒ' => "f",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn latin_letters_lose_their_marks_and_other_scripts_stay() {
        for (text, folded) in [
            ("ação", "acao"),
            ("Crème BRÛLÉE", "Creme BRULEE"),
            ("Straße, Łódź, Ǿresund", "Strasse, Lodz, Oresund"),
            ("ﬁn Ａ１", "fin A1"),
            ("Việt Nam", "Viet Nam"),
            ("Ωmega ключ 今天 가", "Ωmega ключ 今天 가"),
            ("plain", "plain"),
        ] {
            assert_eq!(fold_to_ascii(text), folded);
        }
    }

    proptest! {
        #[test]
        fn folding_twice_changes_nothing(text in "\\PC{0,40}") {
            let once = fold_to_ascii(&text).into_owned();
            prop_assert_eq!(fold_to_ascii(&once), once.as_str());
        }
    }
}
