//! Just enough of Rust's lexical grammar to read imports: identifiers, `::` and punctuation.
//!
//! Comments, string and character literals, lifetimes and numbers are dropped, so that a word in
//! a message or a comment is never mistaken for an import.

/// One token that can matter to an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// An identifier or keyword, without the `r#` of a raw identifier.
    Word(String),
    /// `::`
    PathSep,
    /// Any other single character of punctuation.
    Mark(char),
}

/// A token with the line it stands on, counted from 1.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) token: Token,
    pub(crate) line: usize,
}

/// Reads a source text into tokens.
pub(crate) fn tokens(source: &str) -> Vec<Placed> {
    let mut lexer = Lexer { chars: source.chars().collect(), at: 0, line: 1, out: Vec::new() };
    while lexer.at < lexer.chars.len() {
        lexer.step();
    }
    lexer.out
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    out: Vec<Placed>,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn bump(&mut self) {
        if self.peek(0) == '\n' {
            self.line += 1;
        }
        self.at += 1;
    }

    fn push(&mut self, token: Token) {
        self.out.push(Placed { token, line: self.line });
    }

    fn done(&self) -> bool {
        self.at >= self.chars.len()
    }

    fn step(&mut self) {
        match (self.peek(0), self.peek(1)) {
            ('/', '/') => {
                while !self.done() && self.peek(0) != '\n' {
                    self.bump();
                }
            }
            ('/', '*') => self.block_comment(),
            ('"', _) => self.quoted('"'),
            ('\'', _) => self.char_or_lifetime(),
            (':', ':') => {
                self.push(Token::PathSep);
                self.at += 2;
            }
            (c, _) if c.is_ascii_digit() => {
                while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
                    self.bump();
                }
            }
            (c, _) if c.is_alphabetic() || c == '_' => self.word(),
            (c, _) => {
                if !c.is_whitespace() {
                    self.push(Token::Mark(c));
                }
                self.bump();
            }
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        loop {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => {
                    depth += 1;
                    self.at += 2;
                }
                ('*', '/') => {
                    depth -= 1;
                    self.at += 2;
                }
                _ => self.bump(),
            }
            if depth == 0 || self.done() {
                return;
            }
        }
    }

    fn quoted(&mut self, end: char) {
        self.bump();
        while !self.done() && self.peek(0) != end {
            if self.peek(0) == '\\' {
                self.bump();
            }
            self.bump();
        }
        self.bump();
    }

    fn char_or_lifetime(&mut self) {
        let is_char = self.peek(1) == '\\' || self.peek(2) == '\'';
        if is_char {
            return self.quoted('\'');
        }
        self.bump();
        while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
            self.bump();
        }
    }

    fn word(&mut self) {
        let start = self.at;
        while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
            self.at += 1;
        }
        let word: String = self.chars[start..self.at].iter().collect();
        let prefix = matches!(word.as_str(), "r" | "b" | "c" | "br" | "cr");
        match self.peek(0) {
            '"' if prefix && word.ends_with('r') => self.raw_string(0),
            '"' | '\'' if prefix => self.quoted(self.peek(0)),
            '#' if prefix && word.ends_with('r') => {
                let hashes = (0..).take_while(|&n| self.peek(n) == '#').count();
                if self.peek(hashes) == '"' {
                    self.at += hashes;
                    self.raw_string(hashes);
                } else {
                    // `r#type`: the identifier itself follows.
                    self.at += 1;
                }
            }
            _ => self.push(Token::Word(word)),
        }
    }

    fn raw_string(&mut self, hashes: usize) {
        self.bump();
        while !self.done() {
            let closes = self.peek(0) == '"' && (1..=hashes).all(|n| self.peek(n) == '#');
            self.bump();
            if closes {
                self.at += hashes;
                return;
            }
        }
    }
}

#[test]
fn words_in_comments_and_literals_are_not_tokens() {
    let source = r####"
        // use pingora::A
        /* use /* nested */ redis::B */
        let s = "crate::proxy \" crate::admin";
        let r = r#"tokio_postgres::C " still"#;
        let c = '"'; let q = '\''; let b = b"redis::D"; let u = b'\'';
        fn f<'a>(x: &'a str) -> r#type::E { 1_000usize; }
    "####;
    let words: Vec<String> = tokens(source)
        .into_iter()
        .filter_map(|placed| match placed.token {
            Token::Word(word) => Some(word),
            Token::PathSep | Token::Mark(_) => None,
        })
        .collect();
    assert_eq!(words.join(" "), "let s let r let c let q let b let u fn f x str type E");
}

#[test]
fn lines_are_counted_through_comments_and_strings() {
    let source = "/* one\n two */ \"three\n four\" r\"\n\" here";
    let placed = tokens(source);
    assert_eq!(placed.last().map(|p| p.line), Some(4));
}
