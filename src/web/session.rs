//! Who may see the run board: whoever has shown its token.
//!
//! The token is shown once, in a form or as `?token=`, and exchanged for a cookie; the address is then left without
//! it. The cookie holds a digest and not the token, needs no memory of ours, and dies with the token. Every comparison takes the
//! same time whatever is compared.

use axum::extract::{Form, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use maud::Markup;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Web;
use crate::render::board::login;

/// The cookie's name.
const COOKIE: &str = "pointsman_board";
/// How long a browser keeps the cookie: a screen in a war room must not sign itself out during a night.
const COOKIE_SECS: u32 = 30 * 24 * 3600;

/// What is compared: digests, so that neither the token's length nor its beginning can be told by time.
#[derive(Clone)]
pub struct BoardToken {
    token: [u8; 32],
    session: [u8; 32],
    cookie: String,
}

impl BoardToken {
    /// For a token; `tls` if people reach the board over TLS alone.
    #[must_use]
    pub fn new(token: &SecretString, tls: bool) -> Self {
        let session = digest("session", token.expose_secret());
        let secure = if tls { "; Secure" } else { "" };
        let cookie = format!("{COOKIE}={}; Path=/; Max-Age={COOKIE_SECS}; HttpOnly; SameSite=Lax{secure}", hex::encode(session));
        Self { token: digest("token", token.expose_secret()), session, cookie }
    }

    fn opens(&self, shown: &str) -> bool {
        digest("token", shown).ct_eq(&self.token).into()
    }

    fn is_signed_in(&self, headers: &HeaderMap) -> bool {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let values = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
        let mut shown = values.filter(|(name, _)| *name == COOKIE).filter_map(|(_, value)| hex::decode(value).ok());
        shown.any(|session| session.ct_eq(&self.session).into())
    }

    /// Sends the browser on, signed in.
    fn welcome(&self, to: &str) -> Response {
        let Ok(cookie) = HeaderValue::from_str(&self.cookie) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
        (StatusCode::SEE_OTHER, [(header::SET_COOKIE, cookie)], [(header::LOCATION, to.to_owned())]).into_response()
    }
}

fn digest(what: &str, text: &str) -> [u8; 32] {
    Sha256::new().chain_update(format!("pointsman board {what}\n")).chain_update(text).finalize().into()
}

/// Lets through whoever is signed in; everybody else is asked for the token.
pub(super) async fn guard(State(web): State<Web>, request: Request, next: Next) -> Response {
    let Some(board) = &web.board else { return StatusCode::NOT_FOUND.into_response() };
    let uri = request.uri();
    if let Some((shown, rest)) = token_in(uri) {
        return if board.token.opens(&shown) { board.token.welcome(&rest) } else { refused(&login(true, &rest)) };
    }
    if !board.token.is_signed_in(request.headers()) {
        return refused(&login(false, uri.path_and_query().map_or("/", |path| path.as_str())));
    }
    next.run(request).await
}

fn refused(page: &Markup) -> Response {
    (StatusCode::UNAUTHORIZED, page.clone()).into_response()
}

/// The token in an address, and the address without it.
fn token_in(uri: &Uri) -> Option<(String, String)> {
    let pairs: Vec<_> = url::form_urlencoded::parse(uri.query()?.as_bytes()).collect();
    let token = pairs.iter().find(|(name, _)| name == "token")?.1.to_string();
    let rest = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs.iter().filter(|(name, _)| name != "token"))
        .finish();
    let rest = if rest.is_empty() { uri.path().to_owned() } else { format!("{}?{rest}", uri.path()) };
    Some((token, local(&rest)))
}

/// An address of this site; anything else becomes its first page.
fn local(path: &str) -> String {
    let mut chars = path.chars();
    let fits =
        chars.next() == Some('/') && !matches!(chars.next(), Some('/' | '\\')) && path.chars().all(|c| c.is_ascii_graphic());
    if fits { path.to_owned() } else { "/".to_owned() }
}

/// The form as it was sent.
#[derive(Deserialize)]
pub(super) struct Shown {
    token: String,
    #[serde(default)]
    next: String,
}

/// The form was sent.
pub(super) async fn sign_in(State(web): State<Web>, Form(shown): Form<Shown>) -> Response {
    let Some(board) = &web.board else { return StatusCode::NOT_FOUND.into_response() };
    let next = local(&shown.next);
    if board.token.opens(&shown.token) {
        return board.token.welcome(&next);
    }
    tracing::warn!("somebody showed a wrong token for the run board");
    refused(&login(true, &next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_leaves_the_address_and_the_rest_stays() {
        let found = |uri: &str| token_in(&uri.parse().unwrap());
        assert_eq!(found("/runs/run-a"), None);
        assert_eq!(found("/runs/run-a?token=t%26t"), Some(("t&t".to_owned(), "/runs/run-a".to_owned())));
        assert_eq!(found("/?q=a+b&token=t&status=failed"), Some(("t".to_owned(), "/?q=a+b&status=failed".to_owned())));
        assert_eq!(found("//evil.example/?token=t").map(|(_, rest)| rest), Some("/".to_owned()));
    }

    #[test]
    fn nobody_is_sent_elsewhere() {
        for (path, to) in
            [("/runs/run-a", "/runs/run-a"), ("//evil", "/"), ("/\\evil", "/"), ("https://evil", "/"), ("", "/"), ("/a\nb", "/")]
        {
            assert_eq!(local(path), to, "{path:?}");
        }
    }

    #[test]
    fn the_cookie_opens_and_is_not_the_token() {
        let token = BoardToken::new(&SecretString::from("correct horse battery"), true);
        assert!(token.opens("correct horse battery") && !token.opens("correct horse") && !token.opens(""));
        assert!(!token.cookie.contains("horse") && token.cookie.contains("; Secure") && token.cookie.contains("HttpOnly"));
        let cookie = token.cookie.split(';').next().unwrap().to_owned();
        let headers = |cookie: &str| HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(cookie).unwrap())]);
        assert!(token.is_signed_in(&headers(&format!("a=b; {cookie}"))));
        assert!(!token.is_signed_in(&headers(&format!("{COOKIE}=00"))) && !token.is_signed_in(&HeaderMap::new()));
        let other = BoardToken::new(&SecretString::from("another token entirely"), false);
        assert!(!other.is_signed_in(&headers(&cookie)) && !other.cookie.contains("Secure"));
    }
}
