//! What a text about a trouble says, whenever it is said.

/// The text without the words that differ from one time to the next although the trouble is the same: those with
/// digits, as ids of requests, instants, numbers of seconds and ports have them.
#[must_use]
pub fn gist(text: &str) -> String {
    let lasting = text.split_whitespace().filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
    lasting.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_trouble_at_another_time_has_the_same_gist() {
        let limited = |id: &str| format!("GitHub answers 403, slow down (request ID {id})");
        assert_eq!(gist(&limited("C0DE:1F2A:77")), gist(&limited("BEEF:9A01:42")));
        assert_ne!(gist(&limited("C0DE:1F2A:77")), gist("GitHub answers 401, Bad credentials"));
    }
}
