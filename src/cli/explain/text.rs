//! An explanation for people.

use std::fmt::{self, Write};

use crate::domain::charge::period;

use super::near::NearMiss;
use super::report::{BalanceReport, LimitReport, QuotaReport, Report, StageVerdict, Verdict};
use super::sides::sides;

/// The whole text.
pub(super) fn text(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(report, &mut out);
    out
}

fn write_all(report: &Report, out: &mut String) -> fmt::Result {
    headline(report, out)?;
    if let Some(id) = &report.request_id {
        writeln!(out, "request id {id}, policy version {}", report.snapshot)?;
    }
    writeln!(out)?;
    stages(report, out)?;
    if let Some(by) = &report.decided_by {
        writeln!(out, "\ndecided by {by}")?;
    }
    if !report.near_misses.is_empty() {
        writeln!(out, "\nnear misses:")?;
        for NearMiss { text, source } in &report.near_misses {
            let source = source.as_ref().map(|of| format!("  [{of}]")).unwrap_or_default();
            writeln!(out, "  {text}{source}")?;
        }
    }
    if !report.would.is_empty() {
        writeln!(out, "\npolicies in shadow would have:")?;
        for would in &report.would {
            writeln!(out, "  {would}  [{}]", would.source)?;
        }
    }
    if !report.limits.is_empty() {
        writeln!(out, "\nwould be charged, all or none:")?;
        for limit in &report.limits {
            write_limit(limit, out)?;
        }
    }
    if !report.quotas.is_empty() {
        writeln!(out, "\nquotas of the organization:")?;
        for quota in &report.quotas {
            write_quota(quota, out)?;
        }
    }
    answer(report, out)?;
    upstream(report, out)
}

fn headline(report: &Report, out: &mut String) -> fmt::Result {
    let request = &report.request;
    write!(out, "{} {} → ", request.method, request.target)?;
    match (report.verdict, &report.refusal, &report.upstream) {
        (Verdict::Refused, Some(refusal), _) => {
            writeln!(out, "refused with {} {}", refusal.status, refusal.code)
        }
        (Verdict::Forwarded, _, Some(upstream)) => {
            writeln!(out, "sent on to upstream `{}`", upstream.name)
        }
        (Verdict::Answered, _, _) => writeln!(out, "answered by the gateway itself"),
        (Verdict::Refused, None, _) | (Verdict::Forwarded, _, None) => writeln!(out, "undecided"),
    }
}

fn stages(report: &Report, out: &mut String) -> fmt::Result {
    for stage in &report.stages {
        let verdict = match stage.verdict {
            StageVerdict::Passed => "ok",
            StageVerdict::Refused => "refused",
            StageVerdict::Answered => "answered",
            StageVerdict::NotReached => "-",
        };
        let mut lines: Vec<String> = stage
            .notes
            .iter()
            .map(|note| match &note.source {
                Some(source) => format!("{}  [{source}]", note.text),
                None => note.text.clone(),
            })
            .collect();
        if stage.verdict == StageVerdict::Refused
            && let Some(refusal) = &report.refusal
        {
            lines.push(refusal.reason.clone());
        }
        let first = lines.first().map_or("", String::as_str);
        writeln!(out, "{}", format!("  {:13} {verdict:9} {first}", stage.stage).trim_end())?;
        for line in lines.iter().skip(1) {
            writeln!(out, "  {:13} {:9} {line}", "", "")?;
        }
    }
    Ok(())
}

fn write_limit(limit: &LimitReport, out: &mut String) -> fmt::Result {
    let source = limit.source.as_ref().map(|source| format!("  [{source}]")).unwrap_or_default();
    let tried = if limit.mode == "shadow" { ", in shadow: by itself, refusing nobody" } else { "" };
    let balance = limit.balance.as_ref().map(balance).unwrap_or_default();
    writeln!(
        out,
        "  {}: {} of {}{balance}, for {} ({}/{}; {} when the store is away{tried}){source}",
        limit.limit,
        limit.cost,
        limit.burst,
        limit.subject,
        limit.tokens,
        period(limit.period_millis),
        limit.when_away,
    )
}

fn balance(balance: &BalanceReport) -> String {
    let BalanceReport { left, leased, blocked_millis, unknown } = balance;
    match (left, unknown) {
        (Some(left), _) => {
            let leased = leased.filter(|leased| *leased > 0);
            let leased = leased.map(|of| format!(" and {of} leased")).unwrap_or_default();
            let blocked = blocked_millis.filter(|millis| *millis > 0);
            let blocked = blocked.map(|of| format!(", blocked for {of} ms")).unwrap_or_default();
            format!(" ({left} left{leased}{blocked})")
        }
        (None, Some(why)) => format!(" (nobody knows what is left: {why})"),
        (None, None) => String::new(),
    }
}

fn write_quota(quota: &QuotaReport, out: &mut String) -> fmt::Result {
    let QuotaReport { quota: name, of, period, amount, mode, when_away, source, .. } = quota;
    write!(out, "  {name}: ")?;
    match (quota.used, &quota.resets_at, &quota.unknown) {
        (Some(used), Some(at), _) => {
            write!(out, "{used} of {amount} {of} of the {period} used, begins again {at}")?;
        }
        (_, _, why) => {
            let why = why.as_deref().unwrap_or("nothing counts");
            write!(out, "nobody knows what is used of {amount} {of} of the {period}: {why}")?;
        }
    }
    writeln!(out, " ({mode}; {when_away} when the ledger is away)  [{source}]")
}

fn answer(report: &Report, out: &mut String) -> fmt::Result {
    let Some(answer) = &report.answer else { return Ok(()) };
    writeln!(out, "\nthe client gets:\n  {}", answer.status)?;
    fields(&answer.headers, out)?;
    body(&answer.body, out)
}

fn upstream(report: &Report, out: &mut String) -> fmt::Result {
    let Some(upstream) = &report.upstream else { return Ok(()) };
    writeln!(
        out,
        "\nupstream `{}` ({}, {}) gets:\n  {} {}",
        upstream.name,
        upstream.kind,
        upstream.addresses.join(", "),
        upstream.method,
        upstream.target,
    )?;
    sides(&upstream.compared, out)?;
    if let Some(claims) = &upstream.minted_claims {
        writeln!(out, "\nthe token minted for it says:\n  {claims}")?;
    }
    Ok(())
}

fn fields(fields: &[(String, String)], out: &mut String) -> fmt::Result {
    for (name, value) in fields {
        writeln!(out, "  {name}: {value}")?;
    }
    Ok(())
}

fn body(body: &str, out: &mut String) -> fmt::Result {
    if body.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    for line in body.lines() {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}
