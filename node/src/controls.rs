//! Protections that a control run switches off, to show that a test would notice.
//!
//! Only a build with the cargo feature `controls` can: without it there is no way to make a
//! [`Controls`] that lacks anything.

use clap::ValueEnum;

/// Something that keeps messages safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protection {
    /// A follower says that it has a shard's entries only when it does.
    Append,
    /// A node that stops hands its leaderships over first.
    HandOver,
    /// Where the number of partitions grows, a key stays where it lives.
    Homes,
}

/// Which protection is missing, if any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Controls {
    missing: Option<Protection>,
}

impl Controls {
    /// All but one.
    #[cfg(feature = "controls")]
    pub const fn without(protection: Protection) -> Self {
        Self {
            missing: Some(protection),
        }
    }

    pub(crate) fn lacks(self, protection: Protection) -> bool {
        self.missing == Some(protection)
    }
}

#[cfg(feature = "controls")]
impl std::str::FromStr for Controls {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if name == "nothing" {
            return Ok(Self::default());
        }
        Protection::from_str(name, true).map(Self::without)
    }
}
