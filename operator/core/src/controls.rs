//! Protections that a control run switches off, to show that a test would notice.
//!
//! Only a build with the cargo feature `controls` can: without it there is no way to make a
//! [`Controls`] that lacks anything.

/// Something that keeps a cluster serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// A pod is restarted only when the one before it has stopped, serves again and has caught up.
    CatchUpGate,
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
        match name {
            "nothing" => Ok(Self::default()),
            "catch-up-gate" => Ok(Self::without(Protection::CatchUpGate)),
            _ => Err("known are nothing and catch-up-gate".to_owned()),
        }
    }
}
