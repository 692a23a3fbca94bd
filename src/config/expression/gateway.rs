//! The functions that the gateway adds to the language: networks, paths, hours, versions, header
//! lists, injections, user agents.
//!
//! What is written out is compiled here, when the policy is loaded. May import `policy`.

use cel::IdedExpr;
use cel::common::ast::Expr;
use ipnet::IpNet;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;

use crate::policy::condition::Hours;
use crate::policy::expression::call::Call;
use crate::policy::expression::text::Injection;
use crate::policy::expression::tree::{Node, Test};
use crate::policy::path::PathPattern;

use super::super::conditions::DAYS;
use super::check::{Checker, Typed, present};
use super::types::Type;

impl<'c> Checker<'c> {
    /// A function of the gateway; `None` if it is none.
    pub(super) fn gateway(
        &mut self,
        expr: &'c IdedExpr,
        name: &str,
        arguments: &'c [IdedExpr],
    ) -> Option<Typed> {
        Some(match (name, arguments) {
            ("cidr", [address, networks]) => self.cidr(address, networks),
            ("address", [of]) => {
                self.conversion(expr, Call::Address, Type::Address, of, &[Type::Text])
            }
            ("version", [of]) => {
                self.conversion(expr, Call::Version, Type::Version, of, &[Type::Text])
            }
            ("isVersion", [of]) => {
                let of = self.wanted(of, &Type::Text);
                Typed::test(Test::IsVersion(Box::new(of)))
            }
            ("pathMatch", [path, pattern]) => self.path(path, pattern),
            ("headerList", [of]) => self.of_text(Call::HeaderList, Type::list(Type::Text), of),
            ("entropy", [of]) => self.of_text(Call::Entropy, Type::Double, of),
            ("agentFamily", [of]) => self.of_text(Call::AgentFamily, Type::Text, of),
            ("agentKind", [of]) => self.of_text(Call::AgentKind, Type::Text, of),
            ("hours", [moment, hours]) => self.hours(moment, hours),
            ("sqli", [of]) => self.injection(Injection::Sql, of),
            ("xss", [of]) => self.injection(Injection::Script, of),
            _ => return None,
        })
    }

    pub(super) fn of_text(&mut self, call: Call, kind: Type, of: &'c IdedExpr) -> Typed {
        let of = self.wanted(of, &Type::Text);
        Typed::new(kind, Node::Call(call, Box::new([of])))
    }

    fn path(&mut self, path: &'c IdedExpr, pattern: &'c IdedExpr) -> Typed {
        let path = self.wanted(path, &Type::Text);
        let Some(stated) = self.literal(pattern, "a path pattern") else {
            return Typed::unknown();
        };
        match PathPattern::parse(stated) {
            Ok(pattern) => Typed::test(Test::Fits(Box::new(path), pattern)),
            Err(error) => self.wrong(pattern, error.to_string(), None),
        }
    }

    fn injection(&mut self, injection: Injection, of: &'c IdedExpr) -> Typed {
        let typed = self.node(of);
        match typed.kind.present() {
            Type::Text | Type::List(_) | Type::Map(_, _) | Type::Unknown => {
                Typed::test(Test::Injected(Box::new(present(typed)), injection))
            }
            kind => {
                let message = format!("this is {kind}, and must be string, a list or a map");
                self.wrong(of, message, None)
            }
        }
    }

    fn cidr(&mut self, address: &'c IdedExpr, networks: &'c IdedExpr) -> Typed {
        let typed = self.node(address);
        match typed.kind.present() {
            Type::Address | Type::Text | Type::Unknown => {}
            kind => {
                let message = format!("this is {kind}, and must be address or string");
                self.mistake(address, message, None);
            }
        }
        let stated: Vec<&IdedExpr> = match &networks.expr {
            Expr::List(list) => list.elements.iter().collect(),
            _ => vec![networks],
        };
        if stated.is_empty() {
            let hint = "state at least one network".to_owned();
            self.mistake(networks, "no address is in no network", Some(hint));
        }
        let mut parsed: Vec<IpNet> = Vec::new();
        for network in stated {
            let Some(text) = self.literal(network, "a network") else { continue };
            let single = || text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
            match text.parse().ok().or_else(single) {
                Some(network) => parsed.push(network),
                None => {
                    let message = format!("`{text}` is not a network");
                    let hint = "write it as `10.0.0.0/8`, `2001:db8::/32` or one address";
                    self.mistake(network, message, Some(hint.into()));
                }
            }
        }
        Typed::test(Test::InNetwork(Box::new(present(typed)), parsed.into()))
    }

    fn hours(&mut self, moment: &'c IdedExpr, hours: &'c IdedExpr) -> Typed {
        let moment = self.wanted(moment, &Type::Moment);
        let Some(stated) = self.literal(hours, "the hours") else { return Typed::unknown() };
        match stated_hours(stated) {
            Some(hours) => Typed::test(Test::During(Box::new(moment), Box::new(hours))),
            None => {
                let hint = "write them as `mon-fri 08:00-18:00 Europe/Berlin` or \
                            `sat,sun 00:00-24:00 UTC`";
                self.wrong(hours, format!("`{stated}` is not hours"), Some(hint.into()))
            }
        }
    }
}

/// `mon-fri 08:00-18:00 Europe/Berlin`.
fn stated_hours(text: &str) -> Option<Hours> {
    let mut parts = text.split_whitespace();
    let (days, times, zone) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let mut chosen: Vec<Weekday> = Vec::new();
    for part in days.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let place = |name: &str| DAYS.iter().position(|(known, _)| *known == name);
        let (first, last) = (place(first)?, place(last)?);
        // A week goes round: `fri-mon` is four days.
        let length = (last + DAYS.len() - first) % DAYS.len() + 1;
        for (_, day) in DAYS.iter().cycle().skip(first).take(length) {
            if !chosen.contains(day) {
                chosen.push(*day);
            }
        }
    }
    let (from, until) = times.split_once('-')?;
    let (from, until) = (time(from)?, time(until)?);
    if from == until {
        return None;
    }
    Some(Hours { days: chosen, from, until, zone: TimeZone::get(zone).ok()? })
}

/// The end of the day is its last nanosecond: nothing lies between.
fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let two = |part: &str| -> Option<i8> {
        let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| part.parse().ok()).flatten()
    };
    if (hour, minute) == ("24", "00") {
        return Some(Time::MAX);
    }
    Time::new(two(hour)?, two(minute)?, 0, 0).ok()
}

/// A time zone of the IANA database, or an offset from UTC.
pub(super) fn zone(text: &str) -> Option<TimeZone> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return TimeZone::get(text).ok(),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(hours) || !digits(minutes) {
        return None;
    }
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    if minutes > 59 {
        return None;
    }
    let offset = jiff::tz::Offset::from_seconds(sign * (hours * 3_600 + minutes * 60)).ok()?;
    Some(TimeZone::fixed(offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_days_times_and_a_zone() {
        let hours = stated_hours("fri-mon,wed 22:00-06:00 Europe/Berlin").unwrap();
        assert_eq!(hours.days.len(), 5);
        assert!(stated_hours("sat,sun 00:00-24:00 UTC").is_some());
        for bad in [
            "",
            "mon",
            "mon 08:00-18:00",
            "mon 08:00 UTC",
            "mon 8:00-18:00 UTC",
            "mon 08:00-08:00 UTC",
            "mon 08:00-24:01 UTC",
            "xyz 08:00-18:00 UTC",
            "mon 08:00-18:00 Mars/Base",
            "mon 08:00-18:00 UTC now",
        ] {
            assert!(stated_hours(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn zones_are_names_or_offsets() {
        for good in ["UTC", "Europe/Berlin", "+02:00", "-09:30"] {
            assert!(zone(good).is_some(), "{good}");
        }
        for bad in ["", "Mars/Base", "+2:00", "+02:60", "+99:00", "+0200"] {
            assert!(zone(bad).is_none(), "{bad}");
        }
    }
}
