//! Discord's documented numbers, and cutting to them.
//!
//! Sources: <https://discord.com/developers/docs/resources/message#embed-object-embed-limits>,
//! <https://discord.com/developers/docs/components/reference>. Discord does not say how it counts characters;
//! UTF-16 units are the largest count of the usual ones, so what fits by them fits by any.

/// The longest content of a message.
pub const CONTENT_MAX: usize = 2_000;
/// The longest title of an embed.
pub const TITLE_MAX: usize = 256;
/// The longest description of an embed.
pub const DESCRIPTION_MAX: usize = 4_096;
/// The most fields of an embed.
pub const FIELDS_MAX: usize = 25;
/// The longest name of a field.
pub const FIELD_NAME_MAX: usize = 256;
/// The longest value of a field.
pub const FIELD_VALUE_MAX: usize = 1_024;
/// The longest footer of an embed.
pub const FOOTER_MAX: usize = 2_048;
/// The most characters in all embeds of a message together.
pub const EMBEDS_TOTAL_MAX: usize = 6_000;
/// The most embeds of a message.
pub const EMBEDS_MAX: usize = 10;
/// The most rows of buttons of a message.
pub const ROWS_MAX: usize = 5;
/// The most buttons in a row.
pub const BUTTONS_IN_ROW_MAX: usize = 5;
/// The longest label of a button.
pub const LABEL_MAX: usize = 80;
/// The longest `custom_id`.
pub const CUSTOM_ID_MAX: usize = 100;
/// The longest title of a modal.
pub const MODAL_TITLE_MAX: usize = 45;
/// The longest label of a modal's input.
pub const INPUT_LABEL_MAX: usize = 45;
/// The longest placeholder of a modal's input.
pub const INPUT_PLACEHOLDER_MAX: usize = 100;
/// The most inputs of a modal.
pub const MODAL_INPUTS_MAX: usize = 5;
/// The most choices that an autocompletion may offer.
pub const CHOICES_MAX: usize = 25;
/// The longest name of a choice.
pub const CHOICE_NAME_MAX: usize = 100;
/// The most files of a message.
pub const ATTACHMENTS_MAX: usize = 10;
/// The largest file in bytes: 10 MiB unless the server is boosted.
pub const ATTACHMENT_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// The longest name of a thread.
pub const THREAD_NAME_MAX: usize = 100;

/// The length of a text as these limits count it.
#[must_use]
pub fn len(text: &str) -> usize {
    text.encode_utf16().count()
}

/// The text, cut to `max` with an ellipsis if it is longer.
#[must_use]
pub fn cut(text: &str, max: usize) -> String {
    if len(text) <= max {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.len_utf16();
        if used > max {
            break;
        }
        kept.push(c);
    }
    // A lone backslash at the end would escape whatever follows.
    let kept = kept.trim_end_matches('\\').trim_end();
    format!("{kept}…")
}

/// The lines, one below the other, as many as fit `max`; the rest is counted in a last line.
#[must_use]
pub fn lines(lines: &[String], max: usize) -> String {
    let whole = lines.join("\n");
    if len(&whole) <= max {
        return whole;
    }
    for kept in (0..lines.len()).rev() {
        let mut shown = lines[..kept].to_vec();
        shown.push(format!("… {} more", lines.len() - kept));
        let text = shown.join("\n");
        if len(&text) <= max {
            return text;
        }
    }
    cut(&whole, max)
}

/// The lines, one below the other, the last of them as many as fit `max`; the rest is counted in a first line.
#[must_use]
pub fn newest_lines(lines: &[String], max: usize) -> String {
    let whole = lines.join("\n");
    if len(&whole) <= max {
        return whole;
    }
    for dropped in 1..=lines.len() {
        let mut shown = vec![format!("… {dropped} earlier")];
        shown.extend_from_slice(&lines[dropped..]);
        let text = shown.join("\n");
        if len(&text) <= max {
            return text;
        }
    }
    cut(&whole, max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_cut_and_counted() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abc\\*def", 5), "abc…", "no lone backslash stays behind");
        assert_eq!(len(&cut("👍👍👍", 5)), 5);
        let many: Vec<String> = (1..=9).map(|n| format!("line {n}")).collect();
        assert_eq!(lines(&many, 25), "line 1\nline 2\n… 7 more");
        assert_eq!(lines(&many[..2], 13), "line 1\nline 2");
        assert_eq!(lines(&["x".repeat(50)], 10), "… 1 more");
        assert_eq!(newest_lines(&many, 28), "… 7 earlier\nline 8\nline 9");
        assert_eq!(newest_lines(&many[..2], 13), "line 1\nline 2");
    }
}
