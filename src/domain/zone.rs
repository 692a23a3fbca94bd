//! Time zones of the IANA database, by their names. Imports nothing else of this crate.

use std::str::FromStr;
use std::sync::Arc;

use jiff::tz::TimeZone;

/// A time zone.
#[derive(Clone)]
pub struct Zone {
    name: Arc<str>,
    zone: TimeZone,
}

impl Zone {
    /// The same day everywhere, always 24 hours long.
    pub fn utc() -> Self {
        Self { name: Arc::from("UTC"), zone: TimeZone::UTC }
    }

    /// Its name, as it was written.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its rules.
    pub fn rules(&self) -> &TimeZone {
        &self.zone
    }
}

impl FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(name: &str) -> Result<Self, UnknownZone> {
        let zone = TimeZone::get(name).map_err(|_| UnknownZone)?;
        // The database's own word for a zone that nobody knows: its days are nobody's.
        if zone.is_unknown() { Err(UnknownZone) } else { Ok(Self { name: name.into(), zone }) }
    }
}

/// By their names: rules of one name do not change while a process lives.
impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.name, &other.name) || self.name == other.name
    }
}

impl Eq for Zone {}

impl std::fmt::Debug for Zone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

/// A text that names no time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a time zone of the IANA database, such as `Europe/Berlin` or `UTC`")]
pub struct UnknownZone;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_database_are_zones() {
        assert_eq!("UTC".parse(), Ok(Zone::utc()));
        let berlin: Zone = "Europe/Berlin".parse().unwrap();
        assert_eq!((berlin.name(), berlin == Zone::utc()), ("Europe/Berlin", false));
        for odd in ["", "Berlin", "Europe/Berlin ", "CET+1", "+01:00", "Etc/Unknown", "../zone"] {
            assert_eq!(odd.parse::<Zone>(), Err(UnknownZone), "{odd}");
        }
    }
}
