//! Words of a text: runs of letters and digits, in lower case, as Qdrant's `word` tokenizer makes them.

/// The words of `text`, in order.
pub(crate) fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

/// Whether `wanted` stand one after the other in `text`.
pub(crate) fn has_phrase(text: &str, wanted: &[String]) -> bool {
    let there: Vec<String> = words(text).collect();
    !wanted.is_empty() && there.windows(wanted.len()).any(|window| window == wanted)
}

/// Whether all of `wanted`, which are sorted, each once, are in `text`.
pub(crate) fn has_all(text: &str, wanted: &[String]) -> bool {
    let mut seen = vec![false; wanted.len()];
    let mut missing = wanted.len();
    for word in words(text) {
        if let Ok(i) = wanted.binary_search(&word)
            && !std::mem::replace(&mut seen[i], true)
        {
            missing -= 1;
            if missing == 0 {
                return true;
            }
        }
    }
    false
}

/// Whether one of `wanted`, which are sorted, is in `text`.
pub(crate) fn has_any(text: &str, wanted: &[String]) -> bool {
    words(text).any(|word| wanted.binary_search(&word).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        words(text).collect()
    }

    fn sorted(text: &str) -> Vec<String> {
        let mut list = list(text);
        list.sort_unstable();
        list.dedup();
        list
    }

    #[test]
    fn words_are_runs_of_letters_and_digits() {
        assert_eq!(
            list("Don't panic_now: 42 ÄPFEL!"),
            ["don", "t", "panic", "now", "42", "äpfel"]
        );
        assert!(list(" .,_ ").is_empty());
    }

    #[test]
    fn all_any_and_phrases() {
        let text = "the quick brown fox; the lazy dog";
        assert!(has_all(text, &sorted("fox THE quick")));
        assert!(!has_all(text, &sorted("fox cat")));
        assert!(!has_all(text, &sorted("fo")), "a part of a word is no word");
        assert!(!has_all(text, &[]));
        assert!(has_any(text, &sorted("cat dog")));
        assert!(!has_any(text, &[]));
        assert!(has_phrase(text, &list("Brown, fox the")));
        assert!(!has_phrase(text, &list("fox brown")));
        assert!(!has_phrase(text, &[]));
    }
}
