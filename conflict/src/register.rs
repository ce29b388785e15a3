//! Last write wins: the whole point is one register.

use serde::{Deserialize, Serialize};

use crate::hlc::Stamp;
use crate::value::{Held, Value};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Register {
    pub(crate) stamp: Stamp,
    pub(crate) held: Held<Value>,
}

impl Default for Register {
    fn default() -> Self {
        Self {
            stamp: Stamp::default(),
            held: Held::Gone,
        }
    }
}

impl Register {
    pub(crate) fn merge(self, other: Self) -> Self {
        match self.stamp.cmp(&other.stamp) {
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Greater => self,
            std::cmp::Ordering::Equal => Self {
                stamp: self.stamp,
                held: self.held.or(other.held),
            },
        }
    }

    pub(crate) fn rank(&self) -> u128 {
        u128::from(self.stamp.hlc.0) << 64 | u128::from(self.stamp.writer.0)
    }
}
