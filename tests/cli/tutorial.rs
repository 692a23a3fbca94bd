//! docs/TUTORIAL.md and README.md, done: their files are written, their commands are run in their order,
//! by a shell, and what they print is compared with what they show.
//!
//! - ```` ```console ````: lines after `$ ` are commands, the others what they print. One that ends with
//!   `&` stays; `kill %1` ends the first of those.
//! - ```` ```yaml ````: a new file; ```` ```diff ````: a change of one, whose other lines have to stand there once.
//!   Which file, the line before says: the last of its names in backticks, ending with a colon.
//! - ```` ```sh ````: how the program is built, which this test leaves out.
//!
//! A line `…` stands for any lines. Times are any times. An id or version stands for one and the same
//! from where it is first shown, in commands too. Ports are replaced by free ones, by the variables that
//! the gateway file reads. `UPDATE_GOLDEN=1` writes what is printed today where it differs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;

use crate::support::place::{Port, TempDir};
use crate::support::process::{Process, Signal, Spec};
use crate::support::{PATIENCE, eventually};

/// One step of the document.
#[derive(Debug, PartialEq)]
enum Step {
    Run { line: usize, command: String, prints: Vec<String> },
    Write { line: usize, file: String, text: String },
    Change { line: usize, file: String, text: String },
}

fn steps(document: &str) -> Vec<Step> {
    let mut out = Vec::new();
    let mut lines = document.lines().enumerate();
    let mut before = "";
    while let Some((at, text)) = lines.next() {
        let line = at + 1;
        let Some(kind) = text.strip_prefix("```") else {
            before = if text.is_empty() { before } else { text };
            continue;
        };
        let block: Vec<&str> =
            lines.by_ref().map(|(_, text)| text).take_while(|text| *text != "```").collect();
        let file = || {
            let name = before.strip_suffix(':').and_then(|before| before.rsplit('`').nth(1));
            name.unwrap_or_else(|| panic!("line {line}: which file? {before}")).to_owned()
        };
        let text = || block.iter().map(|text| format!("{text}\n")).collect::<String>();
        match kind {
            "console" => out.extend(commands(line, &block)),
            "yaml" => out.push(Step::Write { line, file: file(), text: text() }),
            "diff" => out.push(Step::Change { line, file: file(), text: text() }),
            "sh" => assert!(out.is_empty(), "line {line}: only before all else"),
            other => panic!("line {line}: what is `{other}`?"),
        }
    }
    out
}

fn commands(begin: usize, block: &[&str]) -> Vec<Step> {
    let mut out: Vec<Step> = Vec::new();
    for (at, text) in block.iter().enumerate() {
        let line = begin + 1 + at;
        match (text.strip_prefix("$ "), out.last_mut()) {
            (Some(command), _) => {
                let command = command.to_owned();
                out.push(Step::Run { line, command, prints: Vec::new() });
            }
            (None, Some(Step::Run { command, prints, .. })) => {
                if prints.is_empty() && command.ends_with('\\') {
                    command.push('\n');
                    command.push_str(text);
                } else {
                    prints.push((*text).to_owned());
                }
            }
            (None, _) => panic!("line {line}: prints before a command"),
        }
    }
    out
}

/// The file after a change: what stands without a sign or after `-` is there once, and becomes what
/// stands without a sign or after `+`.
fn changed(file: &str, change: &str) -> Result<String, String> {
    let side = |other: char| -> Vec<&str> {
        let lines = change.lines().filter(|line| !line.starts_with(other));
        lines.map(|line| line.get(1..).unwrap_or_default()).collect()
    };
    let (old, new) = (side('+'), side('-'));
    let mut lines: Vec<&str> = file.lines().collect();
    let places = lines.windows(old.len()).enumerate().filter(|(_, there)| *there == old);
    let places: Vec<usize> = places.map(|(at, _)| at).collect();
    let [at] = places[..] else {
        return Err(format!("these lines stand there {} times:\n{}", places.len(), old.join("\n")));
    };
    lines.splice(at..at + old.len(), new);
    Ok(lines.join("\n") + "\n")
}

/// What the document shows → what it is in this run.
#[derive(Debug, Clone, Default)]
struct Names(BTreeMap<String, String>);

fn volatile() -> Regex {
    Regex::new(concat!(
        r"(?<time>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(?:\.[0-9]+)?Z)",
        r"|(?<id>\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b[0-9a-f]{16}\b)",
        r"|(?<wait>(?:[Rr]etry-[Aa]fter: |retry in |;r=|;t=)[0-9]+)",
    ))
    .unwrap()
}

impl Names {
    /// One line, with what is told apart by names only. `None` if it says something else.
    fn line(&mut self, shown: &str, said: &str) -> Option<()> {
        let volatile = volatile();
        // Nobody sees spaces at the end of a line.
        let plain = |text: &str| volatile.replace_all(text.trim_end(), "\0").into_owned();
        if plain(shown) != plain(said) {
            return None;
        }
        for (shown, said) in volatile.captures_iter(shown).zip(volatile.captures_iter(said)) {
            match (shown.name("id"), said.name("id")) {
                (Some(shown), Some(said)) => {
                    let (shown, said) = (shown.as_str(), said.as_str());
                    let taken = self.0.iter().any(|(s, is)| is == said && s != shown);
                    let known = self.0.entry(shown.to_owned()).or_insert_with(|| said.to_owned());
                    if taken || known != said {
                        return None;
                    }
                }
                (None, None) if shown.name("time").is_some() == said.name("time").is_some() => {}
                _ => return None,
            }
        }
        Some(())
    }

    /// All lines; `…` stands for any.
    fn lines(&self, shown: &[String], said: &[&str]) -> Option<Self> {
        let Some((first, rest)) = shown.split_first() else {
            return said.is_empty().then(|| self.clone());
        };
        if first == "…" {
            return (0..=said.len()).find_map(|skip| self.lines(rest, &said[skip..]));
        }
        let (head, tail) = said.split_first()?;
        let mut names = self.clone();
        names.line(first, head)?;
        names.lines(rest, tail)
    }

    fn said(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (shown, is)| text.replace(shown, is))
    }

    fn shown(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (shown, is)| text.replace(is, shown))
    }
}

/// The reader: a directory, a shell, and what runs in its background.
struct Reader {
    place: TempDir,
    cwd: PathBuf,
    ports: [Port; 3],
    jobs: Vec<Process>,
}

/// The ports of the document, as the variables of the gateway file name them.
const PORTS: [(&str, &str); 3] = [
    ("TOLLGATE_LISTEN", "127.0.0.1:8080"),
    ("TOLLGATE_ADMIN", "127.0.0.1:9901"),
    ("POSTGREST_ADDRESS", "127.0.0.1:3000"),
];

/// Keeps variables and the directory from one command to the next.
const KEEP: &str = r#"exec 2>&1
[ ! -e "$STATE" ] || . "$STATE"
trap '{ declare -p | grep -E "^declare -- [A-Z]+="; printf "cd %q\n" "$PWD"; } > "$STATE"' EXIT
"#;

impl Reader {
    fn new() -> Self {
        let place = TempDir::new();
        let work = place.path().join("work");
        fs::create_dir(&work).unwrap();
        let ports = std::array::from_fn(|_| Port::reserve());
        Self { cwd: work, place, ports, jobs: Vec::new() }
    }

    fn environment(&self) -> Vec<(String, String)> {
        let program = Path::new(env!("CARGO_BIN_EXE_tollgate")).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        let at = |name: &str| self.place.path().join(name).display().to_string();
        let own = [
            ("PATH", format!("{}:{path}", program.display())),
            ("STATE", at("state")),
            ("TOLLGATE_AUDIT_FILE", at("audit.jsonl")),
            ("TOLLGATE_SOCKET", at("socket")),
        ];
        let ports = PORTS.iter().zip(&self.ports);
        own.into_iter()
            .chain(ports.map(|((name, _), port)| (*name, port.addr().to_string())))
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// With the ports of this run in place of those of the document, or the other way round.
    fn ports(&self, text: &str, of_document: bool) -> String {
        PORTS.iter().zip(&self.ports).fold(text.to_owned(), |text, ((_, shown), port)| {
            let is = port.addr().to_string();
            if of_document { text.replace(&is, shown) } else { text.replace(shown, &is) }
        })
    }

    /// Runs a command to its end, or starts it where it is to stay.
    fn run(&mut self, command: &str) -> String {
        let command = self.ports(command, false).replace("target/debug/tollgate", "tollgate");
        if let Some(stays) = command.strip_suffix('&') {
            let log = self.place.path().join(format!("job{}", self.jobs.len()));
            let script = format!("[ ! -e \"$STATE\" ] || . \"$STATE\"\nexec {stays}");
            self.jobs.push(Process::spawn(Spec {
                name: "a job of the tutorial",
                program: "bash".into(),
                args: vec!["-c".into(), script],
                env: self.environment(),
                user: None,
                dir: self.cwd.clone(),
                log,
                end: Signal::Kill,
            }));
            return String::new();
        }
        if let Some(numbers) = command.strip_prefix("kill ") {
            for number in numbers.split_whitespace() {
                let number: usize = number.strip_prefix('%').unwrap().parse().unwrap();
                self.jobs[number - 1].signal(Signal::Term);
            }
            return String::new();
        }
        let ran = Command::new("bash")
            .args(["--noprofile", "--norc", "-c", &format!("{KEEP}{command}")])
            .env_clear()
            .envs(self.environment())
            .current_dir(&self.cwd)
            .output()
            .unwrap();
        self.ports(&String::from_utf8(ran.stdout).unwrap(), true)
    }

    /// Where relative names of files lead.
    fn directory(&mut self) -> PathBuf {
        PathBuf::from(self.run("pwd").trim())
    }
}

/// Whether asking again changes nothing: what a gateway that works on its own says a moment later is
/// what is waited for.
fn only_looks(command: &str) -> bool {
    let acts = ["init", "snapshots rollback", "token"];
    match command.strip_prefix("tollgate ") {
        Some(what) => !acts.iter().any(|act| what.starts_with(act)),
        None => command.contains("/readyz"),
    }
}

fn document(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[tokio::test]
async fn whoever_follows_the_tutorial_sees_what_it_shows() {
    follow("docs/TUTORIAL.md", Reader::new()).await;
}

/// The demonstration runs, as its readers are told, and they have pasted what it prints first.
#[tokio::test]
async fn whoever_follows_the_readme_sees_what_it_shows() {
    let mut reader = Reader::new();
    reader.run("tollgate demo --listen 127.0.0.1:8080 --admin 127.0.0.1:9901 --json &");
    let told: serde_json::Value =
        eventually("the demonstration", async || serde_json::from_str(&reader.jobs[0].log()).ok())
            .await;
    for (name, token) in told["tokens"].as_object().unwrap() {
        reader.run(&format!("{}={}", name.to_uppercase(), token.as_str().unwrap()));
    }
    reader.run("GATE=http://127.0.0.1:8080");
    // Three mistakes, for what finds them.
    reader.run("tollgate init .");
    let mistakes = [
        ("inherits: [viewer]", "inherits: [veiwer]"),
        ("rate: 20/s", "rate: 0/s"),
        ("    upstream: rest", "    upstrem: rest"),
    ];
    let policy = reader.cwd.join("policies/base.yaml");
    let text = fs::read_to_string(&policy).unwrap();
    let wrong = mistakes.iter().fold(text, |text, (right, wrong)| {
        assert!(text.contains(right), "{right}");
        text.replacen(right, wrong, 1)
    });
    fs::write(policy, wrong).unwrap();
    follow("README.md", reader).await;
}

async fn follow(name: &str, mut reader: Reader) {
    let text = fs::read_to_string(document(name)).unwrap();
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut names = Names::default();
    let mut anew: BTreeMap<usize, (usize, Vec<String>)> = BTreeMap::new();
    for step in steps(&text) {
        match step {
            Step::Write { line, file, text } => {
                let file = reader.directory().join(file);
                assert!(!file.exists(), "{name}:{line}: `{}` is there already", file.display());
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, text).unwrap();
            }
            Step::Change { line, file, text } => {
                let file = reader.directory().join(file);
                let old = fs::read_to_string(&file).unwrap();
                let new = changed(&old, &text);
                fs::write(file, new.unwrap_or_else(|why| panic!("{name}:{line}: {why}"))).unwrap();
            }
            Step::Run { line, command, prints } => {
                let mut said = reader.run(&names.said(&command));
                let stays = command.ends_with('&');
                let again = stays || only_looks(&command);
                let shown = eventually("what the tutorial shows", async || {
                    if stays {
                        let log = reader.jobs.last().unwrap().log();
                        said = reader.ports(&log, true);
                    }
                    let lines: Vec<&str> = said.lines().collect();
                    let found = names.lines(&prints, &lines);
                    if found.is_none() && again && !stays {
                        said = reader.run(&names.said(&command));
                    }
                    if found.is_some() || !again { Some(found) } else { None }
                });
                // Ends before `eventually` does, to say what was printed last.
                let patience = if update { PATIENCE / 10 } else { PATIENCE * 9 / 10 };
                match tokio::time::timeout(patience, shown).await.unwrap_or_default() {
                    Some(found) => names = found,
                    None if update => {
                        let lines = names.shown(&said);
                        let lines = lines.lines().map(|line| line.trim_end().to_owned()).collect();
                        anew.insert(line + command.lines().count(), (prints.len(), lines));
                        // Its names are the document's from now on.
                        let ids: BTreeSet<String> = volatile()
                            .captures_iter(&names.shown(&said))
                            .filter_map(|found| Some(found.name("id")?.as_str().to_owned()))
                            .collect();
                        for id in ids {
                            names.0.entry(id.clone()).or_insert(id);
                        }
                    }
                    None => panic!(
                        "{name}:{line}: `{command}` prints\n{said}\nand not\n{}",
                        prints.join("\n")
                    ),
                }
            }
        }
    }
    if update {
        fs::write(document(name), rewritten(&text, &anew)).unwrap();
    }
}

/// The document with other lines from some on (counted from 1): how many go, and what comes.
fn rewritten(text: &str, anew: &BTreeMap<usize, (usize, Vec<String>)>) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (from, (gone, come)) in anew.iter().rev() {
        lines.splice(from - 1..from - 1 + gone, come.iter().cloned());
    }
    lines.join("\n") + "\n"
}

#[test]
fn what_is_shown_and_not_said_is_told() {
    let said = |shown: &str, said: &str| {
        let shown: Vec<String> = shown.lines().map(str::to_owned).collect();
        let said: Vec<&str> = said.lines().collect();
        Names::default().lines(&shown, &said).is_some()
    };
    let (a, b) = ("aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb");
    assert!(said("one\ntwo", "one\ntwo"));
    assert!(!said("one\ntwo", "one"));
    assert!(!said("one", "one\ntwo"));
    assert!(!said("1 change, 8 do not", "1 change, 9 do not"));
    assert!(said("…\ntwo\n…", "zero\none\ntwo"));
    assert!(!said("…\nthree\n…", "zero\none\ntwo"));
    assert!(said("at 2026-11-21T08:00:00Z", "at 2027-01-02T09:10:11.123456Z"));
    assert!(!said("at 2026-11-21T08:00:00Z", "at noon"));
    // A name stands for one thing, and one thing has one name.
    assert!(said(&format!("{a}\n{a}"), &format!("{b}\n{b}")));
    assert!(!said(&format!("{a}\n{a}"), &format!("{a}\n{b}")));
    assert!(!said(&format!("{a}\n{b}"), &format!("{a}\n{a}")));
    assert!(!said(&format!("version {a}"), "version 2026-11-21T08:00:00Z"));
}

#[test]
fn a_change_has_to_fit_its_file_in_one_place() {
    let file = "roles:\n  viewer:\n  admin:\n";
    assert_eq!(
        changed(file, " roles:\n+  editor:\n   viewer:\n").unwrap(),
        "roles:\n  editor:\n  viewer:\n  admin:\n"
    );
    assert_eq!(changed(file, "-  admin:\n").unwrap(), "roles:\n  viewer:\n");
    assert!(changed(file, "   member:\n+  editor:\n").is_err());
    assert!(changed("a:\na:\n", " a:\n+b:\n").is_err());
}
