//! How far a client has seen each partition's log.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::str::FromStr;
use std::sync::Arc;

use brainy_coordination::types::{CollectionUid, LogPosition, PartitionId};
use parking_lot::Mutex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Session token: a read that presents it sees at least these positions.
///
/// Written `{collection uid}/{partition}@{epoch}:{seq}` joined by commas; a partition of the same collection as the one before it
/// leaves the uid out, `/{partition}@{epoch}:{seq}`. A position in a lane has `_{instance}` behind the partition. As text, a token is a promise about the past only: it never expires.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Token(pub BTreeMap<PartitionId, LogPosition>);

/// A token that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a consistency token: pass what an answer had in its 'brainy-token' header")]
pub struct TokenError(pub String);

impl Token {
    /// Makes it as far as `other` wherever that is further.
    pub fn merge(&mut self, other: &Token) {
        for (partition, position) in &other.0 {
            self.note(partition, *position);
        }
    }

    /// Makes it at least as far as `position` in one partition.
    pub fn note(&mut self, partition: &PartitionId, position: LogPosition) {
        match self.0.get_mut(partition) {
            Some(seen) => *seen = position.max(*seen),
            None => {
                self.0.insert(partition.clone(), position);
            }
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before: Option<&CollectionUid> = None;
        for (partition, position) in &self.0 {
            if before.is_some() {
                f.write_char(',')?;
            }
            if before == Some(&partition.collection) {
                write!(f, "/{}", partition.index)?;
                if let Some(lane) = &partition.lane {
                    write!(f, "_{lane}")?;
                }
                write!(f, "@{position}")?;
            } else {
                write!(f, "{partition}@{position}")?;
            }
            before = Some(&partition.collection);
        }
        Ok(())
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let bad = || TokenError(text.chars().take(64).collect());
        let mut token = Token::default();
        let mut before: Option<CollectionUid> = None;
        for part in text.split(',').filter(|p| !p.is_empty()) {
            let (partition, position) = part.split_once('@').ok_or_else(bad)?;
            let (epoch, seq) = position.split_once(':').ok_or_else(bad)?;
            let position = LogPosition::new(
                epoch.parse().map_err(|_| bad())?,
                seq.parse().map_err(|_| bad())?,
            );
            let partition = match partition.strip_prefix('/') {
                Some(rest) => {
                    let collection = before.clone().ok_or_else(bad)?;
                    format!("{collection}/{rest}").parse()
                }
                None => partition.parse(),
            };
            let partition: PartitionId = partition.map_err(|_| bad())?;
            token.note(&partition, position);
            before = Some(partition.collection);
        }
        Ok(token)
    }
}

/// Where a read notes how far the partitions were that it saw. Clones are one note.
///
/// On the way to another node it is only said that a note is wanted; the answer brings what was noted there.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Mutex<Token>>);

impl Seen {
    /// A note that begins with `token`.
    #[must_use]
    pub fn from_token(token: Token) -> Self {
        Self(Arc::new(Mutex::new(token)))
    }

    /// Notes that all of `token` was seen.
    pub fn merge(&self, token: &Token) {
        self.0.lock().merge(token);
    }

    /// Notes that `partition` was seen at `position`.
    pub fn note(&self, partition: &PartitionId, position: LogPosition) {
        self.0.lock().note(partition, position);
    }

    /// What was noted so far.
    #[must_use]
    pub fn token(&self) -> Token {
        self.0.lock().clone()
    }
}

/// Whether they are one note.
impl PartialEq for Seen {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Serialize for Seen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(true)
    }
}

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bool::deserialize(deserializer).map(|_| Self::default())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn partition(text: &str) -> PartitionId {
        text.parse().unwrap()
    }

    #[test]
    fn the_uid_is_written_once_a_collection() {
        let text = "a-1/00000@1:7,/3@2:9,/3_hybrid-0@1:2,b.b-2/00001@1:1";
        let token: Token = text.parse().unwrap();
        assert_eq!(token.0[&partition("a-1/3")], LogPosition::new(2, 9));
        assert_eq!(token.0.len(), 4);
        assert_eq!(token.to_string(), text);
        // The form in which every part has its uid is read too.
        let long: Token = "a-1/00000@1:7,a-1/00003@2:9,a-1/3_hybrid-0@1:2,b.b-2/1@1:1"
            .parse()
            .unwrap();
        assert_eq!(long, token);
        for wrong in ["/3@1:1", "a-1/3", "a-1/3@1", "a-1/x@1:1", "a-1/3@1:-1", "x"] {
            assert_eq!(wrong.parse::<Token>(), Err(TokenError(wrong.to_owned())));
        }
    }

    #[test]
    fn a_note_crosses_nodes_as_a_wish() {
        let seen = Seen::from_token("a-1/0@1:7".parse().unwrap());
        let sent = rmp_serde::to_vec_named(&Some(seen)).unwrap();
        let arrived: Option<Seen> = rmp_serde::from_slice(&sent).unwrap();
        assert_eq!(arrived.unwrap().token(), Token::default());
    }

    fn tokens() -> impl Strategy<Value = Token> {
        let entry = (0..3_u8, 0..20_u32, 0..4_u64, 0..100_u64);
        prop::collection::vec(entry, 0..30).prop_map(|entries| {
            let mut token = Token::default();
            for (collection, index, epoch, seq) in entries {
                let partition = PartitionId::new(
                    CollectionUid::new(format!("c{collection}-0a")).unwrap(),
                    index,
                );
                token.note(&partition, LogPosition::new(epoch, seq));
            }
            token
        })
    }

    proptest! {
        #[test]
        fn text_gives_the_token_back(token in tokens()) {
            prop_assert_eq!(token.to_string().parse::<Token>(), Ok(token));
        }

        #[test]
        fn merging_never_goes_back_and_has_no_order(a in tokens(), b in tokens()) {
            let (mut ab, mut ba) = (a.clone(), b.clone());
            ab.merge(&b);
            ba.merge(&a);
            prop_assert_eq!(&ab, &ba);
            for (partition, position) in a.0.iter().chain(&b.0) {
                prop_assert!(ab.0[partition] >= *position);
            }
            ba.merge(&ab);
            prop_assert_eq!(ab, ba);
        }
    }
}
