//! Which secrets are hidden in what people write and in what leaves for GitHub: all that the settings lead to.
//!
//! They are looked up for each text, so that a secret whose file was changed is known by its new value. A text that is
//! escaped for Markdown holds a secret in another form; those are known too.

use std::sync::{Mutex, PoisonError};

use secrecy::{ExposeSecret, SecretString};

use crate::actions::Secrets;
use crate::actions::redact::{self, Redactor};
use crate::config::{Settings, Webhook};
use crate::domain::Mask;
use crate::domain::issue::quiet_markdown;
use crate::render::text;

/// Hides the secrets that runbooks may name, and the bot's own.
pub(super) fn mask(settings: &Settings, secrets: &Secrets) -> Mask {
    let known = Known { own: own(settings), secrets: secrets.clone(), newest: Mutex::default() };
    Mask::new(move |text| known.redactor().redact(text))
}

/// All secrets, and the redactor that was made of their newest values: making it anew for each text would be slow where
/// a secret is a whole file.
struct Known {
    own: Vec<SecretString>,
    secrets: Secrets,
    newest: Mutex<(Vec<SecretString>, Redactor)>,
}

impl Known {
    fn redactor(&self) -> Redactor {
        let values: Vec<SecretString> = self.own.iter().cloned().chain(self.secrets.values()).collect();
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if !same(&newest.0, &values) {
            let redactor = Redactor::for_prose(values.iter().flat_map(as_written));
            *newest = (values, redactor);
        }
        newest.1.clone()
    }
}

fn same(one: &[SecretString], other: &[SecretString]) -> bool {
    one.iter().map(ExposeSecret::expose_secret).eq(other.iter().map(ExposeSecret::expose_secret))
}

/// The bot's own tokens, the journal's address if it may hold a password, and the webhooks' addresses, which often are
/// secrets themselves.
fn own(settings: &Settings) -> Vec<SecretString> {
    let journal = &settings.store;
    let incidents = &settings.incidents;
    let hooks = [&incidents.pager, &incidents.status_page].into_iter().flatten();
    let of_hook = |hook: &Webhook| [Some(SecretString::from(hook.url.clone())), hook.token.clone()];
    let tokens = [
        settings.discord.token.clone(),
        settings.github.as_ref().map(|github| github.token.clone()),
        settings.web.as_ref().and_then(|web| web.board_token.clone()),
        journal.expose_secret().starts_with("postgres").then(|| journal.clone()),
    ];
    tokens.into_iter().chain(hooks.flat_map(of_hook)).flatten().collect()
}

/// A secret, and the password that an address gives away, as they are, as chat shows them, and as GitHub does.
fn as_written(secret: &SecretString) -> Vec<SecretString> {
    let values = redact::values(secret.expose_secret());
    let written = values.iter().flat_map(|value| [value.clone(), text::escape(value), quiet_markdown(value)]);
    written.map(SecretString::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::SecretSource;
    use crate::config::Environment;

    #[test]
    fn a_secret_is_hidden_as_it_is_and_as_markdown_escapes_it_and_by_its_newest_value() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let file = "store: postgres://us:store*word@h/d\n";
        let settings = Settings::parse(&directory.path().join("pointsman.yaml"), file, &Environment::default()).unwrap();
        let secrets = Secrets::new([("token".to_owned(), SecretSource::File(path.clone()))]);
        let mask = mask(&settings, &secrets);
        std::fs::write(&path, "s3_ret[one]\n").unwrap();
        for text in ["s3_ret[one]", "s3\\_ret\\[one\\]", "s3_ret\\[one\\]", "store*word", "store\\*word"] {
            assert_eq!(mask.apply(&format!("a {text} b")), "a [redacted] b");
        }
        std::fs::write(&path, "another-one").unwrap();
        assert_eq!(mask.apply("another-one"), "[redacted]");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(mask.hidden("another-one"), None, "nobody knows it any more");
    }
}
