//! Sessions: a client that sends the token of its last answer with each request never goes back in time, whichever node it asks.
//!
//! A write's answer always has a token; a read's, if its request had one, or asked for one with `new` or an empty header.

use axum::http::{HeaderMap, HeaderValue};

use super::errors::ApiError;
use super::extract::{TOKEN, header_text, unknown};
use super::guard::Class;
use crate::model::{Consistency, ReadOptions, Seen, Token};

/// Longest token: proxies and gRPC clients take headers of 8 KiB in all.
const MAX_BYTES: usize = 4096;
/// Asks for a token, from now on.
const NEW: &str = "new";
/// Stands for everything that was acknowledged until now: what the token of a session becomes whose positions are too long.
/// Reads with it are strong, which is at least as new as any position.
const LATEST: &str = "latest";

/// What a client has seen before a request, and sees by it.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// Whether the answer has a token.
    wanted: bool,
    latest: bool,
    seen: Seen,
}

impl Session {
    /// What the request says.
    ///
    /// # Errors
    /// The header is no token.
    pub(super) fn of(headers: &HeaderMap, class: Class) -> Result<Self, ApiError> {
        let writes = class == Class::Write;
        let sent = match class {
            Class::Read | Class::Write => header_text(headers, TOKEN)?,
            Class::Change | Class::Transfer => None,
        };
        let mut session = Self {
            wanted: writes || sent.is_some(),
            latest: false,
            seen: Seen::default(),
        };
        match sent.map(str::trim) {
            None | Some("" | NEW) => {}
            Some(LATEST) => session.latest = true,
            Some(text) if text.len() > MAX_BYTES => {
                let rule = format!("at most {MAX_BYTES} bytes: pass what an answer had in it");
                return Err(unknown("header 'brainy-token'", text, &rule));
            }
            Some(text) => {
                let token = text
                    .parse::<Token>()
                    .map_err(|e| ApiError::bad_request(format!("header 'brainy-token': {e}")))?;
                session.seen = Seen::from_token(token);
            }
        }
        Ok(session)
    }

    /// What a read of this session must see and note; `asked` is what the request says about freshness otherwise.
    pub(super) fn read(&self, asked: Option<Consistency>) -> ReadOptions {
        let token = self.seen.token();
        ReadOptions {
            consistency: match self.latest {
                true => Some(Consistency::Strong),
                false => asked,
            },
            token: (!token.0.is_empty()).then_some(token),
            seen: (self.wanted && !self.latest).then(|| self.seen.clone()),
        }
    }

    /// Notes where a write was logged.
    pub(super) fn wrote(&self, token: &Token) {
        self.seen.merge(token);
    }

    /// The token of a successful answer, if it has one.
    pub(super) fn answer(&self) -> Option<HeaderValue> {
        if !self.wanted {
            return None;
        }
        let text = match self.latest {
            true => LATEST.to_owned(),
            false => self.seen.token().to_string(),
        };
        let text = match text.len() {
            // It has seen nothing yet.
            0 => NEW,
            1..=MAX_BYTES => &text,
            _ => LATEST,
        };
        HeaderValue::from_str(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use brainy_coordination::types::LogPosition;

    use super::*;

    fn session(token: Option<&str>, class: Class) -> Result<Session, ApiError> {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert(TOKEN, HeaderValue::from_str(token).unwrap());
        }
        Session::of(&headers, class)
    }

    fn answer(session: &Session) -> Option<String> {
        session.answer().map(|v| v.to_str().unwrap().to_owned())
    }

    #[test]
    fn who_asks_gets_a_token_and_who_does_not_pays_nothing() {
        let without = session(None, Class::Read).unwrap();
        assert_eq!(answer(&without), None);
        assert_eq!(without.read(None), ReadOptions::default());
        for asked in ["", NEW] {
            let fresh = session(Some(asked), Class::Read).unwrap();
            assert!(fresh.read(None).seen.is_some());
            assert_eq!(answer(&fresh).as_deref(), Some(NEW));
        }
        let write = session(None, Class::Write).unwrap();
        write.wrote(&"c-1/0@1:7".parse().unwrap());
        assert_eq!(answer(&write).as_deref(), Some("c-1/00000@1:7"));
        let change = session(Some("nonsense"), Class::Change).unwrap();
        assert_eq!(answer(&change), None);
    }

    #[test]
    fn a_token_only_ever_grows() {
        let session = session(Some("c-1/0@2:7,/1@1:1"), Class::Write).unwrap();
        session.wrote(&"c-1/0@1:9,d-2/0@1:1".parse().unwrap());
        let expected = "c-1/00000@2:7,/1@1:1,d-2/00000@1:1";
        assert_eq!(answer(&session).as_deref(), Some(expected));
    }

    #[test]
    fn what_is_too_long_becomes_a_strong_read_and_stays_one() {
        let session_of = session(None, Class::Write).unwrap();
        let mut long = Token::default();
        for index in 0..2000 {
            let partition = format!("c-1/{index}").parse().unwrap();
            long.note(&partition, LogPosition::new(1, 1));
        }
        session_of.wrote(&long);
        assert_eq!(answer(&session_of).as_deref(), Some(LATEST));
        let later = session(Some(LATEST), Class::Read).unwrap();
        let read = later.read(Some(Consistency::Eventual));
        assert_eq!(read.consistency, Some(Consistency::Strong));
        later.wrote(&"c-1/0@1:7".parse().unwrap());
        assert_eq!(answer(&later).as_deref(), Some(LATEST));
        let error = session(Some(&"x".repeat(MAX_BYTES + 1)), Class::Read).unwrap_err();
        assert!(format!("{error:?}").contains("4096 bytes"), "{error:?}");
    }
}
