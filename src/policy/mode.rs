//! Modes: whether a policy decides, is only tried, or is not there. May import `domain`.

/// What becomes of what a policy says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It decides.
    #[default]
    Enforce,
    /// It is worked out and recorded as a would-have; the request goes on as if it were not there.
    Shadow,
    /// It is as if it were not written.
    Off,
}

impl Mode {
    /// As policies write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
            Self::Off => "off",
        }
    }
}
