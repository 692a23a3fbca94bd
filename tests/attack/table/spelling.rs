//! Rows of the table, and the requests that are each row's spellings.

use crate::support::fixture::{ACME, GLOBEX};

/// One row of the table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) number: u8,
    pub(crate) about: &'static str,
    pub(crate) spellings: Vec<(Spelling, Verdict)>,
}

/// One request. A target that begins with `!` is not PostgREST's but the gateway's. `{O}` and `{B}` stand for the ids of the caller's organization and of the other.
#[derive(Debug, Clone)]
pub(crate) struct Spelling {
    pub(crate) method: &'static str,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// In its place: the bytes of the request, without the fields that every request needs.
    pub(crate) raw: Option<Vec<u8>>,
}

/// What a request must come to.
#[derive(Debug, Clone)]
pub(crate) enum Verdict {
    /// The gateway refuses it, with this status and code.
    Refused(u16, &'static str),
    /// Rewritten: the answer is what PostgREST gives for it where only the caller's rows exist.
    Alike,
    /// Rewritten: the answer is what PostgREST gives there for this other request, because it
    /// reads the first one in a way of its own.
    Means(Box<Spelling>),
    /// Rewritten, and answered with this status; the database's own code where it is an error.
    Answered(u16, Option<&'static str>),
}

impl Row {
    pub(crate) fn new(number: u8, about: &'static str) -> Self {
        Self { number, about, spellings: Vec::new() }
    }

    /// Adds requests whose answers are those of the organization alone.
    pub(crate) fn alike(self, spellings: impl IntoIterator<Item = Spelling>) -> Self {
        self.each(spellings, &Verdict::Alike)
    }

    /// Adds requests that the gateway refuses.
    pub(crate) fn refused(
        self,
        status: u16,
        code: &'static str,
        spellings: impl IntoIterator<Item = Spelling>,
    ) -> Self {
        self.each(spellings, &Verdict::Refused(status, code))
    }

    /// Adds requests of which only the status is known, and the database's code.
    pub(crate) fn answered(
        self,
        status: u16,
        code: Option<&'static str>,
        spellings: impl IntoIterator<Item = Spelling>,
    ) -> Self {
        self.each(spellings, &Verdict::Answered(status, code))
    }

    /// Adds requests, each with the one that says the same where only the caller's rows exist.
    pub(crate) fn means(mut self, pairs: impl IntoIterator<Item = (Spelling, Spelling)>) -> Self {
        let pairs = pairs.into_iter();
        self.spellings.extend(pairs.map(|(sent, same)| (sent, Verdict::Means(Box::new(same)))));
        self
    }

    fn each(mut self, spellings: impl IntoIterator<Item = Spelling>, verdict: &Verdict) -> Self {
        let spellings = spellings.into_iter();
        self.spellings.extend(spellings.map(|spelling| (spelling, verdict.clone())));
        self
    }
}

impl Spelling {
    pub(crate) fn new(method: &'static str, target: &str, body: &str) -> Self {
        let (target, body) = (filled(target), filled(body).into_bytes());
        Self { method, target, headers: Vec::new(), body, raw: None }
    }

    /// Bytes that no client library would send.
    pub(crate) fn raw(bytes: &[u8]) -> Self {
        let shown = String::from_utf8_lossy(bytes).into_owned();
        Self { raw: Some(bytes.to_vec()), ..Self::new("POST", &shown, "") }
    }

    /// With one more header field.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), filled(value)));
        self
    }

    /// Asking for what was written.
    pub(crate) fn shown(self) -> Self {
        self.with("prefer", "return=representation")
    }

    pub(crate) fn csv(self) -> Self {
        self.with("content-type", "text/csv")
    }

    pub(crate) fn form(self) -> Self {
        self.with("content-type", "application/x-www-form-urlencoded")
    }

    /// Whether it may have changed something.
    pub(crate) fn writes(&self) -> bool {
        !matches!(self.method, "GET" | "HEAD" | "OPTIONS")
    }
}

pub(crate) fn get(target: &str) -> Spelling {
    Spelling::new("GET", target, "")
}

pub(crate) fn head(target: &str) -> Spelling {
    Spelling::new("HEAD", target, "")
}

/// An insert that answers with the rows.
pub(crate) fn post(target: &str, body: &str) -> Spelling {
    Spelling::new("POST", target, body).shown()
}

/// An update that answers with the rows.
pub(crate) fn patch(target: &str, body: &str) -> Spelling {
    Spelling::new("PATCH", target, body).shown()
}

/// A delete that answers with the rows.
pub(crate) fn delete(target: &str) -> Spelling {
    Spelling::new("DELETE", target, "").shown()
}

pub(crate) fn put(target: &str, body: &str) -> Spelling {
    Spelling::new("PUT", target, body).shown()
}

/// Each target as it is read: counted, as CSV, and its head alone.
pub(crate) fn reads(targets: &[&str]) -> Vec<Spelling> {
    let three = |target: &&str| {
        [
            get(target).with("prefer", "count=exact"),
            get(target).with("accept", "text/csv"),
            head(target).with("prefer", "count=exact"),
        ]
    };
    targets.iter().flat_map(three).collect()
}

/// Each target in every way that a refusal must not depend on: with and without a body in the
/// answer, in another media type, and as a change.
pub(crate) fn anyhow(targets: &[&str]) -> Vec<Spelling> {
    let all = |target: &&str| {
        [
            get(target),
            get(target).with("accept", "application/vnd.pgrst.object+json"),
            head(target),
            patch(target, "{\"capacity\":1}"),
            delete(target),
        ]
    };
    targets.iter().flat_map(all).collect()
}

/// Each target as it is read and its head alone.
pub(crate) fn asked(targets: &[&str]) -> Vec<Spelling> {
    targets.iter().flat_map(|target| [get(target), head(target)]).collect()
}

fn filled(text: &str) -> String {
    text.replace("{O}", ACME.id).replace("{B}", GLOBEX.id)
}
