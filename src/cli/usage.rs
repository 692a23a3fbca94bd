//! `tollgate usage`: what organizations used, from the ledger.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use jiff::civil::Date;

use crate::config;
use crate::config::settings::{DirectorySettings, Settings};
use crate::domain::clock::Clock;
use crate::domain::ids::OrgId;
use crate::domain::organization::OrgSelector;
use crate::domain::secret::Secret;
use crate::domain::zone::Zone;
use crate::stores::usage::{By, UsageError, UsageLine, organization_named, report};
use crate::telemetry::clock::SystemClock;

use super::arguments::ConfigFile;
use super::{Done, Failure, environment, print};

/// `tollgate usage`.
#[derive(Debug, Args)]
#[command(after_help = "\
The numbers are those of the ledger (`metering` in the gateway file), which is a few seconds behind.
Calls are requests that were admitted; bytes are those of bodies, of requests in and of answers out;
a request costs what the highest of its limits states, 1 without. Days are those of the time zone of
the organization, or of `metering.zone` if it has none.
By user and by key, callers that are none of these are one line for each kind, and by team what no team
bears is one, so that the lines of an organization always add up to all that it used. A request is
borne by the team of its caller that it names, or else by the only one. In CSV, a text that a
spreadsheet would take for a formula begins with an apostrophe.

Examples:
  tollgate usage                                              this month, by organization
  tollgate usage --organization acme --by day --from 2026-11
  tollgate usage --from 2026-10 --to 2026-10 --by team --format csv > october.csv")]
pub struct Usage {
    /// Of this organization only: its slug or id
    #[arg(long, value_name = "ORGANIZATION")]
    pub organization: Option<OrgSelector>,
    /// From this day or month on; from the first of this month if not stated
    #[arg(long, value_name = "DAY|MONTH", value_parser = Stated::parse)]
    pub from: Option<Stated>,
    /// Up to and with this day or month; up to now if not stated
    #[arg(long, value_name = "DAY|MONTH", value_parser = Stated::parse)]
    pub to: Option<Stated>,
    /// What one line is about
    #[arg(long, value_enum, default_value = "organization")]
    pub by: What,
    /// How it is printed
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// The ledger's database, instead of the one that the configuration names
    #[arg(long, value_name = "URL", env = "TOLLGATE_METERING_DATABASE")]
    pub database_url: Option<String>,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// What one line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// An organization
    Organization,
    /// A user of an organization
    User,
    /// A key of an organization, or a service
    Key,
    /// A day of an organization
    Day,
    /// A team of an organization
    Team,
}

/// How a report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns, and their sums
    Table,
    /// RFC 4180, with a line of names
    Csv,
    /// One JSON list
    Json,
}

/// A day, or a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stated {
    first: Date,
    last: Date,
}

impl Stated {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "write a day as `2026-11-21` or a month as `2026-11`".to_owned();
        match text.len() {
            10 => text.parse().map(|day| Self { first: day, last: day }).map_err(|_| wrong()),
            7 => {
                let first: Date = format!("{text}-01").parse().map_err(|_| wrong())?;
                Ok(Self { first, last: first.last_of_month() })
            }
            _ => Err(wrong()),
        }
    }
}

pub(super) fn run(arguments: &Usage) -> Result<Done, Failure> {
    let loaded = config::load(&arguments.config.config, &environment)?;
    let settings = &loaded.settings;
    let ledger = ledger(arguments, settings)?;
    let days = days(arguments, settings)?;
    let by = match arguments.by {
        What::Organization => By::Organization,
        What::User => By::User,
        What::Key => By::Key,
        What::Day => By::Day,
        What::Team => By::Team,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let lines = runtime.block_on(async {
        let organization = match &arguments.organization {
            Some(selector) => Some(id(selector, settings).await?),
            None => None,
        };
        report(&ledger, organization, days, by).await
    });
    let lines = lines.map_err(|error| match error {
        UsageError::UnknownOrganization(_) => Failure::usage(error.to_string()),
        UsageError::Url(_)
        | UsageError::Away(_)
        | UsageError::Ledger(_)
        | UsageError::NotMigrated => Failure::Failed(error.into()),
    })?;
    let text = match arguments.format {
        Format::Table => table(&lines, arguments.by),
        Format::Csv => csv(&lines, arguments.by),
        Format::Json => {
            format!("{}\n", serde_json::to_string_pretty(&lines).map_err(anyhow::Error::from)?)
        }
    };
    print(&text)?;
    Ok(Done::Well)
}

fn ledger(arguments: &Usage, settings: &Settings) -> Result<Secret, Failure> {
    match (&arguments.database_url, &settings.metering) {
        (Some(url), _) => Ok(Secret::new(url.as_str())),
        (None, Some(metering)) => Ok(metering.postgres.clone()),
        (None, None) => Err(Failure::usage(format!(
            "`{}` has no `metering`: nothing counts what organizations use; give the database of a \
             ledger with --database-url",
            arguments.config.config.display()
        ))),
    }
}

fn days(arguments: &Usage, settings: &Settings) -> Result<(Date, Date), Failure> {
    let now = i64::try_from(SystemClock::new().now().unix_secs()).ok();
    let now = now.and_then(|now| Timestamp::from_second(now).ok()).unwrap_or(Timestamp::MAX);
    let zone = settings.metering.as_ref().map(|metering| metering.zone.clone());
    let today = now.to_zoned(zone.unwrap_or_else(Zone::utc).rules().clone()).date();
    let from = arguments.from.map_or_else(|| today.first_of_month(), |stated| stated.first);
    // It can be tomorrow already where an organization is.
    let to = arguments.to.map_or(today.tomorrow().unwrap_or(today), |stated| stated.last);
    if to < from {
        return Err(Failure::usage(format!("the time ends on {to}, before it begins on {from}")));
    }
    Ok((from, to))
}

async fn id(selector: &OrgSelector, settings: &Settings) -> Result<OrgId, UsageError> {
    let slug = match selector {
        OrgSelector::Id(id) => return Ok(*id),
        OrgSelector::Slug(slug) => slug,
    };
    match &settings.directory {
        DirectorySettings::Postgres(postgres) => {
            organization_named(&postgres.url, &postgres.queries.organization_by_slug, slug).await
        }
        DirectorySettings::File(data) => {
            let found = data.organizations.iter().find(|one| one.slug == *slug);
            found.map(|one| one.id).ok_or_else(|| UsageError::UnknownOrganization(slug.clone()))
        }
    }
}

/// The columns that a line has besides its numbers.
fn about(what: What) -> &'static [&'static str] {
    match what {
        What::Organization => &["organization"],
        What::Day => &["organization", "day"],
        What::User | What::Key => &["organization", "kind", "subject"],
        What::Team => &["organization", "team"],
    }
}

const NUMBERS: [&str; 4] = ["calls", "bytes_in", "bytes_out", "cost"];

fn words(line: &UsageLine, what: What) -> Vec<&str> {
    let more = match what {
        What::Organization => [None, None],
        What::Day => [line.day.as_deref(), None],
        What::User | What::Key => {
            [line.kind.as_deref(), Some(line.subject.as_deref().unwrap_or_default())]
        }
        What::Team => [Some(line.team.as_deref().unwrap_or_default()), None],
    };
    std::iter::once(line.organization.as_str()).chain(more.into_iter().flatten()).collect()
}

fn numbers(line: &UsageLine) -> [u64; 4] {
    [line.calls, line.bytes_in, line.bytes_out, line.cost]
}

fn csv(lines: &[UsageLine], what: What) -> String {
    let mut out = [about(what), &NUMBERS].concat().join(",");
    out.push_str("\r\n");
    for line in lines {
        for word in words(line, what) {
            out.push_str(&quoted(word));
            out.push(',');
        }
        let numbers = numbers(line).map(|number| number.to_string());
        let _ = write!(out, "{}\r\n", numbers.join(","));
    }
    out
}

/// A field of RFC 4180. Subjects are what identity providers and operators say, and spreadsheets run
/// what begins like a formula (OWASP, "CSV Injection"): an apostrophe makes it text.
fn quoted(field: &str) -> String {
    let text = match field.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        true => format!("'{field}"),
        false => field.to_owned(),
    };
    match text.contains(['"', ',', ';', '\t', '\r', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

fn table(lines: &[UsageLine], what: What) -> String {
    let head = [about(what), &NUMBERS].concat().into_iter().map(str::to_owned).collect();
    let mut sums = [0_u128; 4];
    let mut rows: Vec<Vec<String>> = vec![head];
    for line in lines {
        let numbers = numbers(line);
        for (sum, number) in sums.iter_mut().zip(numbers) {
            *sum += u128::from(number);
        }
        let texts = words(line, what).into_iter().map(|word| match word {
            "" => "-".to_owned(),
            word => word.to_owned(),
        });
        rows.push(texts.chain(numbers.map(|number| number.to_string())).collect());
    }
    let blanks = about(what).iter().skip(1).map(|_| String::new());
    let total = std::iter::once("total".to_owned()).chain(blanks);
    rows.push(total.chain(sums.map(|sum| sum.to_string())).collect());
    let texts = about(what).len();
    let widths: Vec<usize> = (0..texts + NUMBERS.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| match column < texts {
            true => format!("{cell:<width$}"),
            false => format!("{cell:>width$}"),
        });
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(subject: &str, calls: u64) -> UsageLine {
        UsageLine {
            organization: "11111111-1111-4111-8111-111111111111".to_owned(),
            day: None,
            kind: Some("user".to_owned()),
            subject: (!subject.is_empty()).then(|| subject.to_owned()),
            team: None,
            calls,
            bytes_in: 10,
            bytes_out: 2_000,
            cost: calls,
        }
    }

    #[test]
    fn a_month_is_its_days_and_nothing_else_is_taken_for_one() {
        let parsed = |text: &str| Stated::parse(text).map(|of| format!("{} {}", of.first, of.last));
        assert_eq!(parsed("2028-02").unwrap(), "2028-02-01 2028-02-29");
        assert_eq!(parsed("2026-11-21").unwrap(), "2026-11-21 2026-11-21");
        for wrong in ["2026-13", "2026-11-31", "2026", "", "11/2026", "2026-1-1"] {
            assert!(parsed(wrong).unwrap_err().contains("`2026-11`"), "{wrong}");
        }
    }

    #[test]
    fn csv_keeps_commas_and_quotes_of_ids_inside_their_field() {
        let text = csv(&[line("a,\"b\"", 3), line("", 4)], What::User);
        assert_eq!(
            text,
            "organization,kind,subject,calls,bytes_in,bytes_out,cost\r\n\
             11111111-1111-4111-8111-111111111111,user,\"a,\"\"b\"\"\",3,10,2000,3\r\n\
             11111111-1111-4111-8111-111111111111,user,,4,10,2000,4\r\n"
        );
    }

    #[test]
    fn what_a_spreadsheet_would_run_is_text_in_csv_and_numbers_are_exact() {
        let formulas = [
            ("=HYPERLINK(\"http://x\",1)", "\"'=HYPERLINK(\"\"http://x\"\",1)\""),
            ("+1", "'+1"),
            ("-1+cmd|' /C calc'!A0", "'-1+cmd|' /C calc'!A0"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "\"'\t=1\""),
            ("a;=1", "\"a;=1\""),
            ("a=1", "a=1"),
        ];
        for (subject, field) in formulas {
            let text = csv(&[line(subject, u64::MAX)], What::User);
            let wanted = format!("user,{field},{0},10,2000,{0}\r\n", u64::MAX);
            assert!(text.ends_with(&wanted), "{text}");
        }
        let mut of_team = line("", 3);
        of_team.team = Some("sales.north".to_owned());
        let text = csv(&[of_team, line("", 4)], What::Team);
        assert_eq!(
            text,
            "organization,team,calls,bytes_in,bytes_out,cost\r\n\
             11111111-1111-4111-8111-111111111111,sales.north,3,10,2000,3\r\n\
             11111111-1111-4111-8111-111111111111,,4,10,2000,4\r\n"
        );
    }

    #[test]
    fn a_table_ends_with_the_sums_of_its_columns() {
        let text = table(&[line("ann", 3), line("", 40)], What::User);
        assert_eq!(
            text,
            "organization                          kind  subject  calls  bytes_in  bytes_out  cost\n\
             11111111-1111-4111-8111-111111111111  user  ann          3        10       2000     3\n\
             11111111-1111-4111-8111-111111111111  user  -           40        10       2000    40\n\
             total                                                   43        20       4000    43\n"
        );
    }
}
