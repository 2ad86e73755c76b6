//! What somebody probably meant who wrote a word that nobody knows.

/// The one of `candidates` that `word` was probably meant to be: at most a third of its letters wrong (but one for the
/// shortest), letters that changed places counting once. `None` if none is so near.
#[must_use]
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let wrong_max = (word.chars().count() / 3).max(1);
    let distances = candidates.into_iter().map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate));
    distances.filter(|(distance, _)| *distance <= wrong_max).min_by_key(|(distance, _)| *distance).map(|(_, near)| near)
}

/// `unknown`, which says that `word` is not known, with what it was probably meant to be, or else with all that there are.
/// Of nothing it says that there is none.
#[must_use]
pub fn with_suggestion<'c>(unknown: &str, word: &str, candidates: impl IntoIterator<Item = &'c str>) -> String {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    match nearest(word, candidates.iter().copied()) {
        Some(near) => format!("{unknown}, did you mean `{near}`?"),
        None if candidates.is_empty() => format!("{unknown}; there is none"),
        None => {
            let known: Vec<String> = candidates.iter().map(|candidate| format!("`{candidate}`")).collect();
            format!("{unknown}; there is {}", known.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_understood_and_another_word_is_not() {
        for (word, meant) in [("modee", Some("mode")), ("mdoe", Some("mode")), ("runbok", Some("runbook")), ("when", None)] {
            assert_eq!(nearest(word, ["runbook", "mode", "at"]), meant, "{word}");
        }
    }

    #[test]
    fn what_is_unknown_comes_with_what_there_is() {
        assert_eq!(with_suggestion("no option `mdoe`", "mdoe", ["mode", "at"]), "no option `mdoe`, did you mean `mode`?");
        assert_eq!(with_suggestion("no option `x1`", "when", ["mode", "at"]), "no option `x1`; there is `mode`, `at`");
        assert_eq!(with_suggestion("no option `x1`", "x1", []), "no option `x1`; there is none");
    }
}
