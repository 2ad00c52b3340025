//! Positions in lanes, and the token that lets a reader insist on what it has seen.
use std::{collections::BTreeMap, fmt, str::FromStr};

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

/// One ordered stream of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LaneId(pub u16);

/// One database with its master and slaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardId(pub u16);

impl fmt::Display for LaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place in a lane. `generation` changes when a lane's numbering begins anew; `sequence` counts from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Which lane.
    pub lane: LaneId,
    /// Which numbering of it.
    pub generation: u32,
    /// How far.
    pub sequence: u64,
}

/// How far a reader has seen, lane by lane: `Consistency-Token` in HTTP. At most [`Token::MAX_LANES`] lanes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Position>", into = "Vec<Position>")]
pub struct Token(BTreeMap<LaneId, (u32, u64)>);

/// Why a token was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a consistency token of this system")]
pub struct TokenError;

impl Token {
    /// A customer's own writes touch few lanes; more than this many are merged away by forgetting the oldest added.
    pub const MAX_LANES: usize = 32;

    /// A token for one position.
    pub fn at(position: Position) -> Self {
        let mut token = Token::default();
        token.raise(position);
        token
    }

    /// Notes that its holder has seen `position`. A full token forgets nothing: a lane beyond the limit is not added,
    /// which the caller sees by `false`.
    pub fn raise(&mut self, position: Position) -> bool {
        if self.0.len() >= Self::MAX_LANES && !self.0.contains_key(&position.lane) {
            return false;
        }
        let seen = self.0.entry(position.lane).or_default();
        *seen = (*seen).max((position.generation, position.sequence));
        true
    }

    /// Takes in what another token has seen.
    pub fn merge(&mut self, other: &Token) {
        for position in other.positions() {
            self.raise(position);
        }
    }

    /// The position it insists on in `lane`.
    pub fn get(&self, lane: LaneId) -> Option<Position> {
        self.0.get(&lane).map(|&(generation, sequence)| Position { lane, generation, sequence })
    }

    /// All positions, by lane.
    pub fn positions(&self) -> impl Iterator<Item = Position> + '_ {
        self.0.iter().map(|(&lane, &(generation, sequence))| Position { lane, generation, sequence })
    }

    /// Whether it insists on nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Token> for Vec<Position> {
    fn from(token: Token) -> Self {
        token.positions().collect()
    }
}

impl TryFrom<Vec<Position>> for Token {
    type Error = TokenError;
    fn try_from(positions: Vec<Position>) -> Result<Self, TokenError> {
        let mut token = Token::default();
        if positions.len() > Self::MAX_LANES || !positions.into_iter().all(|p| token.raise(p)) {
            return Err(TokenError);
        }
        Ok(token)
    }
}

impl fmt::Display for Token {
    /// Base64url of its postcard form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = postcard::to_stdvec(self).map_err(|_| fmt::Error)?;
        f.write_str(&BASE64URL_NOPAD.encode(&bytes))
    }
}

impl FromStr for Token {
    type Err = TokenError;
    fn from_str(text: &str) -> Result<Self, TokenError> {
        if text.len() > 1024 {
            return Err(TokenError);
        }
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| TokenError)?;
        crate::wire::decode_exact(&bytes).map_err(|_| TokenError)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn position(lane: u16, generation: u32, sequence: u64) -> Position {
        Position { lane: LaneId(lane), generation, sequence }
    }

    #[test]
    fn a_token_only_rises() {
        let mut token = Token::at(position(1, 1, 10));
        token.raise(position(1, 1, 5));
        assert_eq!(token.get(LaneId(1)), Some(position(1, 1, 10)));
        token.raise(position(1, 2, 3));
        assert_eq!(token.get(LaneId(1)), Some(position(1, 2, 3)));
        for lane in 0..100 {
            token.raise(position(lane, 1, 1));
        }
        assert_eq!(token.positions().count(), Token::MAX_LANES);
    }

    proptest! {
        #[test]
        fn tokens_survive_their_text(entries in proptest::collection::vec((any::<u16>(), any::<u32>(), any::<u64>()), 0..32)) {
            let mut token = Token::default();
            for (lane, generation, sequence) in entries {
                token.raise(position(lane, generation, sequence));
            }
            prop_assert_eq!(token.to_string().parse::<Token>().unwrap(), token);
        }

        #[test]
        fn hostile_tokens_never_panic(text in "[A-Za-z0-9_-]{0,200}") {
            let _ = text.parse::<Token>();
        }
    }
}
