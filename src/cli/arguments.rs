//! The command line as clap reads it, and the help that it shows.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use crate::domain::machine::KeyId;
use crate::domain::permission::PermissionPattern;

/// Edge gateway for Supabase and PostgREST stacks that many organizations share.
///
/// Every client request goes through it: it proves who is calling, finds the one organization the
/// call is for, keeps the request inside that organization, charges it against rate limits, and
/// records what it decided.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, propagate_version = true, after_help = AFTER)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER: &str = "\
Examples:
  tollgate demo                                  see it work, with nothing else installed
  tollgate check --config config/gateway.yaml    all mistakes of a configuration at once
  tollgate serve --config config/gateway.yaml    run it

Exit status: 0 done, 1 failed, 2 wrong arguments or configuration.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway
    Serve(Serve),
    /// Run the whole gateway in one process with sample data, and show what to try
    Demo(Demo),
    /// Write the files of a gateway to begin with
    Init(super::init::Init),
    /// Run an upstream with made-up rows of the configured tables
    Sample(super::sample::Sample),
    /// Check configurations and policies, and show everything that is wrong with them
    Check(Check),
    /// Run the tests of policies: requests, and what is to become of each
    Test(Test),
    /// Decide one request without sending it on, and show every step of the decision
    Explain(Explain),
    /// Make a test token, signed with a shared secret of the configuration
    Token(Token),
    /// Create or update the tables of the organization directory in PostgreSQL
    Migrate(Migrate),
    /// Write, check and harden the catalogue of a database behind PostgREST
    #[command(subcommand, after_help = CATALOG)]
    Catalog(Catalog),
    /// Show what each role may do, and who may do something
    #[command(subcommand, after_help = ROLES)]
    Roles(Roles),
    /// Show what another configuration would decide differently
    Diff(super::diff::Diff),
    /// Decide recorded requests again by another configuration, and show which verdicts change
    Replay(super::replay::Replay),
    /// Show whom policies in shadow would have refused
    #[command(subcommand, after_help = super::shadow::AFTER)]
    Shadow(super::shadow::Shadow),
    /// List the sessions of users, and end them on all nodes
    #[command(subcommand, after_help = super::sessions::AFTER)]
    Sessions(super::sessions::Sessions),
    /// Show what is locked after failed logins, and unlock it on all nodes
    #[command(subcommand, after_help = super::logins::AFTER)]
    Logins(super::logins::Logins),
    /// Create, list, rotate and revoke API keys of machines
    #[command(subcommand, after_help = KEYS)]
    Keys(Keys),
    /// Show how much of their limits organizations and users have left, fill buckets or set them
    #[command(subcommand, after_help = super::limits::AFTER)]
    Limits(super::limits::Limits),
    /// Show the versions of the configuration that a gateway keeps, and go back to one
    #[command(subcommand, after_help = super::snapshots::AFTER)]
    Snapshots(super::snapshots::Snapshots),
    /// Show what organizations used, for bills
    Usage(super::usage::Usage),
    /// Format configuration files; comments and the order of keys stay
    Fmt(super::fmt::Fmt),
    /// Print the JSON Schema of a configuration file, for editors
    Schema(Schema),
}

/// Which configuration.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// The gateway's configuration file; the policies that it names are read with it
    #[arg(
        long,
        short,
        value_name = "FILE",
        env = "TOLLGATE_CONFIG",
        default_value = "config/gateway.yaml"
    )]
    pub config: PathBuf,
}

/// `tollgate serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
The configuration is read again on SIGHUP and when one of its files changes. A configuration with
errors, or whose tests do not pass (`tests` in the gateway file), changes nothing: the log says what
is wrong, and the policy in force stays. SIGUSR1 goes back to the version before the one in force.

SIGTERM stops accepting, lets requests in flight end (server.drain) and exits. SIGINT exits at once.
To replace the program without a refused connection, set server.upgrade_socket, start the new one
with --upgrade, and send SIGQUIT to the old one.

Examples:
  tollgate serve --config config/gateway.yaml
  kill -HUP $(pidof tollgate)                    read the configuration again
  kill -USR1 $(pidof tollgate)                   go back by one version")]
pub struct Serve {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Take the listening sockets over from the process that runs now
    #[arg(long)]
    pub upgrade: bool,
}

/// `tollgate demo`.
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing of the machine is needed or touched: limits are kept in this process, the organizations are
two samples, the service behind the gateway is a small one inside the program, and the audit log is
written to a temporary directory that is removed at the end.

Examples:
  tollgate demo
  tollgate demo --listen 127.0.0.1:0 --admin 127.0.0.1:0 --json    for scripts: free ports")]
pub struct Demo {
    /// Where clients connect; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Where health and metrics are served; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9901")]
    pub admin: SocketAddr,
    /// Print one JSON object with the addresses and sample tokens, on one line, and keep serving
    #[arg(long)]
    pub json: bool,
}

/// `tollgate check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Everything that is wrong is shown at once, each mistake with its file, line and column, the line
itself and what to do. Environment variables and secret files that the configuration names have to
be there, as for `tollgate serve`.

Examples:
  tollgate check
  tollgate check --config config/gateway.yaml --config config/production.yaml
  tollgate check --json | jq '.problems[].message'
  tollgate check --watch                          again with every change of a file

Exit status: 0 no errors (warnings are shown), 2 errors.")]
pub struct Check {
    /// The gateway's configuration file; can be given more than once
    #[arg(
        long,
        short,
        value_name = "FILE",
        env = "TOLLGATE_CONFIG",
        default_value = "config/gateway.yaml"
    )]
    pub config: Vec<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// Check again whenever a file changes, until a signal ends it
    #[arg(long)]
    pub watch: bool,
}

/// `tollgate test`.
#[derive(Debug, Args)]
#[command(after_help = "\
A test file names a configuration, states organizations and members, and lists requests with what is
to become of each: sent on, or refused with a code. Every request goes through the code that live
requests go through, at the time that the test says, with tokens that the test makes up. Nothing is
sent and no store is asked: buckets hold what the test says. See docs/POLICIES.md.

Examples:
  tollgate test
  tollgate test policies/venture-platform/rights.test.yaml
  tollgate test policies --json | jq '.files[].cases[] | select(.ok | not)'
  tollgate test --watch --filter quota                  again with every change of a file
  tollgate test --coverage --min-coverage 80            what no case reaches, with its place
  tollgate test --format junit > tests.xml              for CI servers; `tap` for others

Exit status: 0 all is as expected, 2 something is not, a file has errors, or less is reached than
--min-coverage asks for.")]
pub struct Test {
    /// Test files, and directories in which and below which every `*.test.yaml` is one
    #[arg(value_name = "FILES", default_value = "policies")]
    pub files: Vec<PathBuf>,
    /// How what came of them is printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = TestFormat::Text)]
    pub format: TestFormat,
    /// The same as `--format json`
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// Run only the cases that have this in their names
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// Show which routes, roles, conditions, tables, limits, quotas and rules no case reached
    #[arg(long)]
    pub coverage: bool,
    /// Fail if less than this is reached
    #[arg(long, value_name = "PERCENT", conflicts_with = "filter", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub min_coverage: Option<u8>,
    /// Run again whenever a file changes that they are made of, until a signal ends it
    #[arg(long)]
    pub watch: bool,
}

/// How results of tests are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TestFormat {
    /// What fails, for people; with colours on terminals, unless `NO_COLOR` is set
    Text,
    /// One JSON object with every case
    Json,
    /// JUnit XML
    Junit,
    /// TAP version 14
    Tap,
}

/// `tollgate explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
The request goes through the code that live requests go through, up to the point where it would be
sent on. Nothing is sent and nothing is charged. The organization directory and key sets are asked
as configured; a directory or key set that is away is shown as it would be to a client.

Examples:
  tollgate explain --demo GET /rest/v1/projects --as alice
  tollgate explain GET 'https://api.example.com/rest/v1/projects?select=id' --token \"$TOKEN\"
  tollgate explain POST /rest/v1/projects --as alice --body '{\"name\":\"x\"}'
  tollgate explain DELETE '/rest/v1/projects?id=eq.1' -H 'x-organization-id: acme' --as bob --json
  tollgate explain GET /rest/v1/projects --as-key tgk_4fTz81QmUe0x --from 10.0.0.7
  tollgate explain --request 0199f2c4-6f0a-7a51-9d3e-4b1f6f1a2c77

Exit status: 0 decided (whatever the verdict), 1 failed, 2 wrong arguments or configuration.")]
pub struct Explain {
    /// The request's method
    #[arg(required_unless_present = "past")]
    pub method: Option<String>,
    /// The request's URL, or its path and query alone
    #[arg(required_unless_present = "past")]
    pub url: Option<String>,
    /// A request that was decided, by its id: what the audit log says of it, and what the present
    /// policy makes of it
    #[arg(long = "request", value_name = "ID", conflicts_with_all = ["method", "url", "headers", "token",
          "as_user", "as_key", "body", "from", "demo"])]
    pub past: Option<String>,
    /// With --request: an audit log to look in instead of the configured one, or `-`; can be given
    /// more than once
    #[arg(long, value_name = "FILE", requires = "past")]
    pub audit: Vec<PathBuf>,
    /// A header field of the request; can be given more than once
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// A bearer token, put into `Authorization`
    #[arg(long, value_name = "JWT", conflicts_with = "as_user")]
    pub token: Option<String>,
    /// A user id: a token is made for it as by `tollgate token`, and then verified like any other
    #[arg(long = "as", value_name = "USER")]
    pub as_user: Option<String>,
    /// The id of a machine's key: the request is made with it, though its secret is not known
    #[arg(long, value_name = "KEY", conflicts_with_all = ["token", "as_user"], value_parser = super::keys::key_id)]
    pub as_key: Option<KeyId>,
    /// The request's body: text, `@FILE`, or `-` for standard input
    #[arg(long, value_name = "TEXT|@FILE|-")]
    pub body: Option<String>,
    /// The client's address
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub from: IpAddr,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// Explain by the demo's configuration, which is part of the program
    #[arg(long)]
    pub demo: bool,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `tollgate token`.
#[derive(Debug, Args)]
#[command(after_help = "\
The token is signed with a shared secret (HS256) of one of the configuration's issuers, so that the
gateway accepts it. An issuer that has public keys only cannot be stood in for; give the secret of
another with --key-file. Tokens are for tests: give them short lives.

Examples:
  tollgate token --user alice
  tollgate token --user alice --lifetime 8h
  tollgate token --claims '{\"sub\":\"alice\",\"role\":\"authenticated\",\"org_id\":\"…\"}'
  curl -H \"Authorization: Bearer $(tollgate token --user alice)\" http://127.0.0.1:8080/rest/v1/projects")]
pub struct Token {
    /// The token's `sub`
    #[arg(long, required_unless_present = "claims")]
    pub user: Option<String>,
    /// Claims as a JSON object; they win over what the other options and the issuer state
    #[arg(long, value_name = "JSON")]
    pub claims: Option<String>,
    /// The issuer, by its name in the configuration; the first with a shared secret by default
    #[arg(long, value_name = "NAME")]
    pub issuer: Option<String>,
    /// Sign with the secret in this file instead of the configuration's (the last line end is
    /// not part of it)
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// How long the token is valid: `90s`, `15m`, `8h`, `2d`
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = super::token::lifetime)]
    pub lifetime: std::time::Duration,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `tollgate migrate`.
#[derive(Debug, Args)]
#[command(after_help = "\
The schema is that of deploy/sql. Migrations that were applied before are left out, so running it
again changes nothing; each runs in a transaction of its own.

Examples:
  tollgate migrate --config config/gateway.yaml          the directory's database
  tollgate migrate --database postgres://… --dry-run     what would be done")]
pub struct Migrate {
    /// The database, instead of the one that the configuration names for the directory
    #[arg(long, value_name = "URL", env = "TOLLGATE_DATABASE")]
    pub database: Option<String>,
    /// Show what would be applied, and apply nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

const CATALOG: &str = "\
The catalogue is the part of the policies that says which tables, views and functions there are and
how their rows belong to organizations. See docs/POLICIES.md.

Examples:
  tollgate catalog introspect --database-url postgres://… > policies/catalogue.yaml
  tollgate catalog check --database-url postgres://…
  tollgate catalog rls | psql -v ON_ERROR_STOP=1 postgres://…";

/// `tollgate catalog`.
#[derive(Debug, Subcommand)]
pub enum Catalog {
    /// Write the catalogue of a database as a policy file
    Introspect(Introspect),
    /// Compare the configured catalogue with a database, and warn of what is not safe in it
    Check(CatalogCheck),
    /// Print SQL that lets the database hold by itself what the gateway holds
    Rls(Rls),
}

/// Which database.
#[derive(Debug, Args)]
pub struct Database {
    /// The database; a role that may connect can read everything that is needed
    #[arg(long, alias = "database", value_name = "URL", env = "TOLLGATE_DATABASE")]
    pub database_url: String,
}

/// `tollgate catalog introspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Tables with the tenant column belong to organizations by it; tables with a foreign key that cannot
be null to one of those belong through it; the rest is denied, with the reason in a comment.
Functions are comments unless filtering what they return is enough. Nothing is changed.

Examples:
  tollgate catalog introspect --database-url postgres://… > policies/catalogue.yaml
  tollgate catalog introspect --tenant org_id --global countries --global currencies")]
pub struct Introspect {
    /// The database.
    #[command(flatten)]
    pub database: Database,
    /// The schema that PostgREST serves
    #[arg(long, value_name = "NAME", default_value = "public")]
    pub schema: String,
    /// The column that holds the organization's id
    #[arg(long, value_name = "COLUMN", default_value = "organization_id")]
    pub tenant: String,
    /// A table or view with the same rows for every organization; can be given more than once
    #[arg(long, value_name = "TABLE")]
    pub global: Vec<String>,
}

/// `tollgate catalog check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Errors are what the catalogue states and the database does not have. Warnings are what the database
allows across organizations, or does slowly: most go away with `tollgate catalog rls`.

Examples:
  tollgate catalog check --config config/gateway.yaml --database-url postgres://…
  tollgate catalog check --json | jq '.findings[].message'

Exit status: 0 no errors (warnings are shown), 1 failed, 2 errors.")]
pub struct CatalogCheck {
    /// The database.
    #[command(flatten)]
    pub database: Database,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `tollgate catalog rls`.
#[derive(Debug, Args)]
#[command(after_help = "\
The SQL is one transaction that can be applied again. It makes helper functions that read the
organization from the claims of the token that the gateway mints, row-level-security policies that
compare it, defaults for tenant columns, foreign keys that hold the tenant, and the indexes for all
of this. Foreign keys keep their names and get a column, so write the catalogue anew afterwards.

Examples:
  tollgate catalog rls --config config/gateway.yaml > row_security.sql
  tollgate catalog rls --role authenticated --role anon | psql -v ON_ERROR_STOP=1 postgres://…")]
pub struct Rls {
    /// A database role of the minted tokens that is let in; can be given more than once
    #[arg(long, value_name = "ROLE", default_value = "authenticated")]
    pub role: Vec<String>,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

const ROLES: &str = "\
Examples:
  tollgate roles matrix
  tollgate roles who-can invoices:approve";

/// `tollgate roles`.
#[derive(Debug, Subcommand)]
pub enum Roles {
    /// Print which role has which permission
    Matrix(Matrix),
    /// Print the roles that have a permission, and the members if the directory is a file
    WhoCan(WhoCan),
}

/// `tollgate roles matrix`.
#[derive(Debug, Args)]
#[command(after_help = "\
In the table, `yes` is a permission, `if` one that counts while the conditions of the role hold,
which stand below it. Wildcards are spelled out, inherited permissions are included.

Examples:
  tollgate roles matrix --config config/gateway.yaml
  tollgate roles matrix --format csv > roles.csv
  tollgate roles matrix --format json | jq '.[] | select(.permissions | index(\"events:delete\")) | .role'")]
pub struct Matrix {
    /// How it is printed
    #[arg(long, value_enum, default_value_t = MatrixFormat::Table)]
    pub format: MatrixFormat,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// The formats of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MatrixFormat {
    /// To be read
    Table,
    /// RFC 4180, one line for each role
    Csv,
    /// One list of roles
    Json,
}

/// `tollgate roles who-can`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tollgate roles who-can invoices:approve
  tollgate roles who-can events:delete --json | jq -r '.roles[].role'

Exit status: 0 found, also if nobody has it; 2 no policy names the permission.")]
pub struct WhoCan {
    /// `resource:action`
    #[arg(value_name = "PERMISSION")]
    pub permission: String,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

const KEYS: &str = "\
A key belongs to one organization and may do what its scopes say. It is shown once, when it is made;
the directory keeps a hash of it. Where the directory is a file, the entry for it is printed.

Examples:
  KEY=$(tollgate keys create --organization acme --name ci --scope events:read)
  tollgate keys list --organization acme
  tollgate keys rotate tgk_4fTz81QmUe0x --overlap 24h
  tollgate keys revoke tgk_4fTz81QmUe0x";

/// `tollgate keys`.
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Make a key, and print it once
    Create(KeyCreate),
    /// List keys, and when they were last used
    List(KeyList),
    /// Give a key another secret, and print it once
    Rotate(KeyRotate),
    /// Take a key back, at once
    Revoke(KeyRevoke),
}

/// Where keys are kept, and how they are hashed.
#[derive(Debug, Args)]
pub struct KeyDirectory {
    /// The database, instead of the one that the configuration names for the directory
    #[arg(long, alias = "database", value_name = "URL", env = "TOLLGATE_DATABASE")]
    pub database_url: Option<String>,
    /// The configuration: it has the pepper that keys are hashed with.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `tollgate keys create`.
#[derive(Debug, Args)]
#[command(after_help = "\
The key alone goes to standard output, everything else to standard error. It counts at once.

Examples:
  KEY=$(tollgate keys create --organization acme --name ci --scope events:read)
  tollgate keys create --organization acme --name till --scope 'orders:*' --scope products:read \\
      --expires 90d --address 10.0.0.0/8 --limit per_till")]
pub struct KeyCreate {
    /// The organization, by slug or id
    #[arg(long, value_name = "ORG")]
    pub organization: String,
    /// What the key is called, once in the organization
    #[arg(long, value_parser = super::keys::key_name)]
    pub name: String,
    /// What it may do, as roles write permissions; can be given more than once
    #[arg(long, required = true, value_name = "PERMISSION", value_parser = super::keys::scope)]
    pub scope: Vec<PermissionPattern>,
    /// How long it is valid: `8h`, `90d`; until it is revoked by default
    #[arg(long, value_name = "TIME", value_parser = super::token::lifetime)]
    pub expires: Option<std::time::Duration>,
    /// A network from which it may be used; can be given more than once; from all by default
    #[arg(long, value_name = "NETWORK", value_parser = super::keys::network)]
    pub address: Vec<IpNet>,
    /// A limit of the policies that is charged besides those of the route
    #[arg(long, value_name = "NAME")]
    pub limit: Option<String>,
    /// Print one JSON object with `id`, `key` and `entry`
    #[arg(long)]
    pub json: bool,
    /// The directory.
    #[command(flatten)]
    pub directory: KeyDirectory,
}

/// `tollgate keys list`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tollgate keys list --organization acme
  tollgate keys list --json | jq -r '.[] | select(.last_used_at == null) | .id'")]
pub struct KeyList {
    /// Only those of this organization, by slug or id
    #[arg(long, value_name = "ORG")]
    pub organization: Option<String>,
    /// Print one JSON list instead of text
    #[arg(long)]
    pub json: bool,
    /// The directory.
    #[command(flatten)]
    pub directory: KeyDirectory,
}

/// `tollgate keys rotate`.
#[derive(Debug, Args)]
#[command(after_help = "\
The old secret counts until the overlap has passed; one that was still in its overlap ends at once.

Examples:
  tollgate keys rotate tgk_4fTz81QmUe0x --overlap 24h
  tollgate keys rotate tgk_4fTz81QmUe0x --expires 90d       the old secret ends at once")]
pub struct KeyRotate {
    /// The key's id
    #[arg(value_parser = super::keys::key_id)]
    pub key: KeyId,
    /// How long the old secret still counts: `15m`, `24h`; not at all by default
    #[arg(long, value_name = "TIME", value_parser = super::token::lifetime)]
    pub overlap: Option<std::time::Duration>,
    /// How long the key is valid from now on; as long as before by default
    #[arg(long, value_name = "TIME", value_parser = super::token::lifetime)]
    pub expires: Option<std::time::Duration>,
    /// Print one JSON object with `id`, `key` and `entry`
    #[arg(long)]
    pub json: bool,
    /// The directory.
    #[command(flatten)]
    pub directory: KeyDirectory,
}

/// `tollgate keys revoke`.
#[derive(Debug, Args)]
#[command(after_help = "\
Gateways hear of it within a second. A key that was revoked stays listed.

Examples:
  tollgate keys revoke tgk_4fTz81QmUe0x")]
pub struct KeyRevoke {
    /// The key's id
    #[arg(value_parser = super::keys::key_id)]
    pub key: KeyId,
    /// The directory.
    #[command(flatten)]
    pub directory: KeyDirectory,
}

/// `tollgate schema`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tollgate schema > gateway.schema.json
  tollgate schema policy > policy.schema.json

In an editor with yaml-language-server, the first line of a file names its schema:
  # yaml-language-server: $schema=./gateway.schema.json")]
pub struct Schema {
    /// Which kind of file
    #[arg(value_enum, default_value_t = FileKind::Gateway)]
    pub kind: FileKind,
}

/// The kinds of configuration files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FileKind {
    /// What a process is started with, and upstreams, issuers, keys
    Gateway,
    /// Roles, plans, limits, routes, tables
    Policy,
    /// Conditions, and what becomes of requests that meet them
    Rules,
    /// Organizations and members
    Directory,
    /// Requests, and what is to become of each
    Test,
}
