//! The slots of a Redis Cluster: which one a key is in, and which server has it.
//!
//! As the Redis Cluster specification has it ("Key distribution model"). Pure. Imports nothing.

use redis::Value;

/// How many slots there are.
pub(in crate::stores) const SLOTS: u16 = 16_384;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::stores) struct Slot(u16);

impl Slot {
    /// Where there are no slots, everything is in one.
    pub(in crate::stores) const ONLY: Self = Self(0);

    /// The slot of a key: of its hash tag, where it has one.
    pub(in crate::stores) fn of(key: &str) -> Self {
        let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        let hashed = tag.map(|(tag, _)| tag).filter(|tag| !tag.is_empty()).unwrap_or(key);
        Self(crc16(hashed.as_bytes()) % SLOTS)
    }

    pub(in crate::stores) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// CRC-16/XMODEM: polynomial 0x1021, nothing reflected.
fn crc16(bytes: &[u8]) -> u16 {
    let step = |crc: u16, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
    bytes.iter().fold(0, |crc, byte| (0..8).fold(crc ^ (u16::from(*byte) << 8), step))
}

/// For each slot, a tag of keys that are in it.
pub(in crate::stores) fn tags() -> Vec<u32> {
    let mut tags = vec![None; usize::from(SLOTS)];
    let mut missing = tags.len();
    for tag in 0_u32.. {
        if missing == 0 {
            break;
        }
        let slot = Slot::of(&tag.to_string());
        if let Some(place @ None) = tags.get_mut(slot.index()) {
            *place = Some(tag);
            missing -= 1;
        }
    }
    tags.into_iter().flatten().collect()
}

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::stores) struct Address {
    pub(in crate::stores) host: String,
    pub(in crate::stores) port: u16,
}

impl Address {
    /// `host:port` as a server writes it in a redirection; without a host it means its own.
    pub(in crate::stores) fn redirected(text: &str, from: &Self) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host = if host.is_empty() || host == "?" { &from.host } else { host };
        Some(Self { host: host.to_owned(), port: port.parse().ok()? })
    }
}

/// Which servers have which slots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::stores) struct Topology {
    /// The primaries, with the first and the last slot of each of their ranges.
    pub(in crate::stores) primaries: Vec<(Address, Vec<(u16, u16)>)>,
    /// Their replicas.
    pub(in crate::stores) replicas: Vec<Address>,
}

impl Topology {
    /// What `CLUSTER SLOTS` answered: lists of first slot, last slot, the primary and its replicas,
    /// of which each is a list of host and port, and more.
    pub(in crate::stores) fn read(answer: &Value, asked: &Address) -> Option<Self> {
        let Value::Array(ranges) = answer else { return None };
        let mut topology = Self::default();
        for range in ranges {
            let Value::Array(parts) = range else { return None };
            let [first, last, primary, replicas @ ..] = parts.as_slice() else { return None };
            let range = (number(first)?, number(last)?);
            let address = address(primary, asked)?;
            match topology.primaries.iter_mut().find(|(known, _)| *known == address) {
                Some((_, ranges)) => ranges.push(range),
                None => topology.primaries.push((address, vec![range])),
            }
            topology.replicas.extend(replicas.iter().filter_map(|one| self::address(one, asked)));
        }
        topology.replicas.sort_unstable();
        topology.replicas.dedup();
        Some(topology)
    }

    /// How many slots somebody has.
    pub(in crate::stores) fn covered(&self) -> u32 {
        let ranges = self.primaries.iter().flat_map(|(_, ranges)| ranges);
        ranges.map(|(first, last)| u32::from(last.saturating_sub(*first)) + 1).sum()
    }

    /// Who has a slot.
    pub(in crate::stores) fn primary_of(&self, slot: Slot) -> Option<&Address> {
        let has = |ranges: &[(u16, u16)]| ranges.iter().any(|(a, b)| (*a..=*b).contains(&slot.0));
        self.primaries.iter().find(|(_, ranges)| has(ranges)).map(|(address, _)| address)
    }
}

fn number(value: &Value) -> Option<u16> {
    match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    }
}

fn address(value: &Value, asked: &Address) -> Option<Address> {
    let Value::Array(parts) = value else { return None };
    let [host, port, ..] = parts.as_slice() else { return None };
    let host = match host {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?,
        Value::SimpleString(text) => text,
        // It does not know its own address: it is the one that was asked by.
        Value::Nil => "",
        _ => return None,
    };
    let host = if host.is_empty() || host == "?" { &asked.host } else { host };
    Some(Address { host: host.to_owned(), port: number(port)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_slots_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(Slot::of("foo"), Slot(12_182));
        assert_eq!(Slot::of("{user1000}.following"), Slot::of("{user1000}.followers"));
        assert_eq!(Slot::of("foo{}{bar}"), Slot(crc16(b"foo{}{bar}") % SLOTS));
        assert_eq!(Slot::of("foo{{bar}}zap"), Slot(crc16(b"{bar") % SLOTS));
        assert_eq!(Slot::of("foo{bar}{zap}"), Slot::of("bar"));
    }

    #[test]
    fn every_slot_has_a_tag() {
        let tags = tags();
        assert_eq!(tags.len(), usize::from(SLOTS));
        for (slot, tag) in tags.iter().enumerate() {
            assert_eq!(Slot::of(&format!("x:{{{tag}}}")).index(), slot);
        }
    }

    #[test]
    fn a_redirection_without_a_host_means_the_same() {
        let from = Address { host: "a".into(), port: 1 };
        let to = |text| Address::redirected(text, &from).map(|to| (to.host, to.port));
        assert_eq!(to("b:7000"), Some(("b".into(), 7_000)));
        assert_eq!(to(":7000"), Some(("a".into(), 7_000)));
        assert_eq!(to("::1:7000"), Some(("::1".into(), 7_000)));
        assert_eq!(to("[::1]:7000"), Some(("::1".into(), 7_000)));
        assert_eq!(to("b"), None);
    }

    #[test]
    fn a_topology_is_read_as_servers_write_it() {
        let node = |host: Value, port| Value::Array(vec![host, Value::Int(port), Value::Nil]);
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let range = |first, last, nodes: Vec<Value>| {
            let mut range = vec![Value::Int(first), Value::Int(last)];
            range.extend(nodes);
            Value::Array(range)
        };
        let asked = Address { host: "seed".into(), port: 1 };
        let answer = Value::Array(vec![
            range(0, 99, vec![node(text("a"), 1), node(text("b"), 2)]),
            range(200, 16_383, vec![node(Value::Nil, 3)]),
            range(100, 100, vec![node(text("a"), 1), node(text("b"), 2)]),
        ]);
        let topology = Topology::read(&answer, &asked).unwrap();
        let a = Address { host: "a".into(), port: 1 };
        assert_eq!(topology.covered(), 101 + 16_184);
        assert_eq!(topology.primary_of(Slot(100)), Some(&a));
        assert_eq!(topology.primary_of(Slot(150)), None);
        assert_eq!(topology.primary_of(Slot(200)).unwrap().host, "seed");
        assert_eq!(topology.replicas, [Address { host: "b".into(), port: 2 }]);
        assert_eq!(Topology::read(&Value::Okay, &asked), None);
    }
}
