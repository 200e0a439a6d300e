//! Parser of patterns.

use super::RegexError;

/// A set of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ByteSet([u64; 4]);

impl ByteSet {
    pub fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    pub fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 != 0
    }

    pub fn complement(self) -> ByteSet {
        ByteSet(self.0.map(|word| !word))
    }

    pub fn union(&mut self, other: &ByteSet) {
        for (word, other) in self.0.iter_mut().zip(other.0) {
            *word |= other;
        }
    }

    fn insert_where(&mut self, holds: impl Fn(u8) -> bool) {
        (0..=255).filter(|&byte| holds(byte)).for_each(|byte| self.insert(byte));
    }
}

#[derive(Debug)]
pub enum Node {
    Empty,
    Set(ByteSet),
    Begin,
    End,
    /// A group and its number, from 0.
    Group(usize, Box<Node>),
    Concat(Vec<Node>),
    /// Branches, tried in order.
    Alternatives(Vec<Node>),
    /// A node at least `min` times, and at most `max` times if that is set.
    Repeat {
        node: Box<Node>,
        min: u32,
        max: Option<u32>,
    },
}

pub struct Parsed {
    pub root: Node,
    pub group_count: usize,
}

/// The greatest depth of nested groups, and the most repetitions in a row.
const DEPTH_MAX: u32 = 500;

/// The largest count that the parser accepts; the limit on the program's size refuses most smaller
/// ones.
const COUNT_MAX: u32 = 100_000;

pub fn parse(pattern: &[u8]) -> Result<Parsed, RegexError> {
    let mut parser = Parser { pattern, at: 0, group_count: 0, depth: 0 };
    let root = parser.alternatives()?;
    match parser.peek() {
        None => Ok(Parsed { root, group_count: parser.group_count }),
        Some(b')') => Err(parser.error("`)` without a `(`")),
        Some(_) => Err(parser.error("nothing to repeat")),
    }
}

struct Parser<'p> {
    pattern: &'p [u8],
    at: usize,
    group_count: usize,
    depth: u32,
}

impl<'p> Parser<'p> {
    fn peek(&self) -> Option<u8> {
        self.pattern.get(self.at).copied()
    }

    fn take_if(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn error(&self, message: &'static str) -> RegexError {
        RegexError { message, offset: self.at, is_too_large: false }
    }

    fn alternatives(&mut self) -> Result<Node, RegexError> {
        let mut alternatives = vec![self.sequence()?];
        while self.take_if(b'|') {
            alternatives.push(self.sequence()?);
        }
        Ok(if alternatives.len() == 1 { alternatives.remove(0) } else { Node::Alternatives(alternatives) })
    }

    fn sequence(&mut self) -> Result<Node, RegexError> {
        let mut terms = Vec::new();
        loop {
            let term = match self.peek() {
                // Anchors cannot be repeated: a `*` after one is a term of its own.
                Some(b'^') => {
                    self.at += 1;
                    Node::Begin
                }
                Some(b'$') => {
                    self.at += 1;
                    Node::End
                }
                None | Some(b'|' | b')' | b'*' | b'+' | b'?' | b'{') => break,
                Some(byte) => {
                    let atom = self.atom(byte)?;
                    self.repetitions(atom)?
                }
            };
            terms.push(term);
        }
        Ok(match terms.len() {
            0 => Node::Empty,
            1 => terms.remove(0),
            _ => Node::Concat(terms),
        })
    }

    fn atom(&mut self, byte: u8) -> Result<Node, RegexError> {
        let start = self.at;
        self.at += 1;
        let mut set = ByteSet::default();
        match byte {
            b'.' => set.insert_where(|byte| byte != 0),
            b'(' => {
                if self.depth == DEPTH_MAX {
                    return Err(self.error("groups nest too deep"));
                }
                self.depth += 1;
                let group = self.group_count;
                self.group_count += 1;
                let inner = self.alternatives()?;
                self.depth -= 1;
                if !self.take_if(b')') {
                    let message = if self.peek().is_none() { "`(` without a `)`" } else { "nothing to repeat" };
                    let offset = if self.peek().is_none() { start } else { self.at };
                    return Err(RegexError { message, offset, is_too_large: false });
                }
                return Ok(Node::Group(group, Box::new(inner)));
            }
            b'[' => set = self.bracket(start)?,
            b'\\' => match self.peek() {
                Some(byte @ (b'.' | b'[' | b'\\' | b'(' | b')' | b'*' | b'+' | b'?' | b'{' | b'|' | b'^' | b'$')) => {
                    self.at += 1;
                    set.insert(byte);
                }
                Some(_) => return Err(self.error("only the characters .[\\()*+?{|^$ can be escaped")),
                None => return Err(self.error("`\\` at the end")),
            },
            byte => set.insert(byte),
        }
        Ok(Node::Set(set))
    }

    fn repetitions(&mut self, atom: Node) -> Result<Node, RegexError> {
        let mut node = atom;
        for _ in 0..=DEPTH_MAX {
            let (min, max) = match self.peek() {
                Some(b'*') => (0, None),
                Some(b'+') => (1, None),
                Some(b'?') => (0, Some(1)),
                Some(b'{') => {
                    self.at += 1;
                    let min = self.count()?;
                    let max = match self.take_if(b',') {
                        false => Some(min),
                        true if self.peek() == Some(b'}') => None,
                        true => Some(self.count()?),
                    };
                    if self.peek() != Some(b'}') {
                        return Err(self.error("expected `}`"));
                    }
                    if max.is_some_and(|max| max < min) {
                        return Err(self.error("the counts in `{…}` are the wrong way round"));
                    }
                    (min, max)
                }
                _ => return Ok(node),
            };
            self.at += 1;
            node = Node::Repeat { node: Box::new(node), min, max };
        }
        Err(self.error("repetitions nest too deep"))
    }

    fn count(&mut self) -> Result<u32, RegexError> {
        let start = self.at;
        let mut count = 0u32;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            count = count.saturating_mul(10).saturating_add(u32::from(digit - b'0'));
            self.at += 1;
        }
        if self.at == start {
            return Err(self.error("expected a count"));
        }
        if count > COUNT_MAX {
            return Err(RegexError {
                message: "count is too large",
                offset: start,
                is_too_large: count <= i32::MAX as u32,
            });
        }
        Ok(count)
    }

    /// Parses the inside of `[…]`, after the bracket.
    fn bracket(&mut self, start: usize) -> Result<ByteSet, RegexError> {
        let mut set = ByteSet::default();
        let negated = self.take_if(b'^');
        let mut last = Last::Nothing;
        let mut first = true;
        loop {
            let Some(byte) = self.peek() else {
                return Err(RegexError { message: "`[` without a `]`", offset: start, is_too_large: false });
            };
            self.at += 1;
            let next = match (byte, self.peek()) {
                (b']', _) if !first => break,
                (b'-', _) if !first => {
                    if self.take_if(b']') {
                        set.insert(b'-');
                        break;
                    }
                    let Last::Byte(low) = last else {
                        return Err(self.error("`-` after something that is no character"));
                    };
                    let high = self.range_end()?;
                    if high < low {
                        return Err(self.error("the ends of the range are the wrong way round"));
                    }
                    (low..=high).for_each(|byte| set.insert(byte));
                    last = Last::Nothing;
                    continue;
                }
                (b'[', Some(b':')) => {
                    let name = self.name(b':')?;
                    self.class(name, &mut set)?;
                    Last::Class
                }
                (b'[', Some(b'.')) => {
                    let name = self.name(b'.')?;
                    Last::Byte(self.collating_element(name)?)
                }
                (b'[', Some(b'=')) => {
                    let name = self.name(b'=')?;
                    let byte = self.collating_element(name)?;
                    set.insert_where(|other| other.eq_ignore_ascii_case(&byte));
                    Last::Class
                }
                (byte, _) => Last::Byte(byte),
            };
            if let Last::Byte(byte) = next {
                set.insert(byte);
            }
            last = next;
            first = false;
        }
        Ok(if negated { set.complement() } else { set })
    }

    fn range_end(&mut self) -> Result<u8, RegexError> {
        match self.peek() {
            None => Err(self.error("`[` without a `]`")),
            Some(b'[') if matches!(self.pattern.get(self.at + 1), Some(b'.' | b':' | b'=')) => {
                Err(self.error("a range ends in a character"))
            }
            Some(byte) => {
                self.at += 1;
                Ok(byte)
            }
        }
    }

    /// Parses the name in `[:name:]`, from its first sign on.
    fn name(&mut self, sign: u8) -> Result<&'p [u8], RegexError> {
        let start = self.at + 1;
        let rest = self.pattern.get(start..).unwrap_or_default();
        let Some(length) = rest.windows(2).position(|pair| pair == [sign, b']']) else {
            return Err(self.error("class without an end"));
        };
        self.at = start + length + 2;
        Ok(&self.pattern[start..start + length])
    }

    fn class(&self, name: &[u8], set: &mut ByteSet) -> Result<(), RegexError> {
        let holds: fn(&u8) -> bool = match name.to_ascii_lowercase().as_slice() {
            b"alnum" => u8::is_ascii_alphanumeric,
            b"alpha" => u8::is_ascii_alphabetic,
            b"blank" => |byte| matches!(byte, b' ' | b'\t'),
            b"cntrl" => u8::is_ascii_control,
            b"d" | b"digit" => u8::is_ascii_digit,
            b"graph" => u8::is_ascii_graphic,
            b"lower" => u8::is_ascii_lowercase,
            b"print" => |byte| matches!(byte, b' '..=b'~'),
            b"punct" => u8::is_ascii_punctuation,
            b"s" | b"space" => |byte| matches!(byte, b' ' | b'\t'..=b'\r'),
            b"upper" => u8::is_ascii_uppercase,
            b"w" => |byte| byte.is_ascii_alphanumeric() || *byte == b'_',
            b"xdigit" => u8::is_ascii_hexdigit,
            _ => return Err(self.error("unknown class")),
        };
        set.insert_where(|byte| holds(&byte));
        Ok(())
    }

    fn collating_element(&self, name: &[u8]) -> Result<u8, RegexError> {
        if let &[byte] = name {
            return Ok(byte);
        }
        let known = NAMES.iter().find(|(known, _)| known.as_bytes() == name);
        known.map(|&(_, byte)| byte).ok_or_else(|| self.error("unknown collating element"))
    }
}

/// The element before a `-` in brackets.
#[derive(Clone, Copy)]
enum Last {
    Nothing,
    Byte(u8),
    Class,
}

/// Collating elements of the POSIX locale with names of their own.
const NAMES: &[(&str, u8)] = &[
    ("NUL", 0),
    ("alert", 7),
    ("backspace", 8),
    ("tab", b'\t'),
    ("newline", b'\n'),
    ("vertical-tab", 11),
    ("form-feed", 12),
    ("carriage-return", b'\r'),
    ("space", b' '),
    ("exclamation-mark", b'!'),
    ("quotation-mark", b'"'),
    ("number-sign", b'#'),
    ("dollar-sign", b'$'),
    ("percent-sign", b'%'),
    ("ampersand", b'&'),
    ("apostrophe", b'\''),
    ("left-parenthesis", b'('),
    ("right-parenthesis", b')'),
    ("asterisk", b'*'),
    ("plus-sign", b'+'),
    ("comma", b','),
    ("hyphen", b'-'),
    ("period", b'.'),
    ("slash", b'/'),
    ("zero", b'0'),
    ("one", b'1'),
    ("two", b'2'),
    ("three", b'3'),
    ("four", b'4'),
    ("five", b'5'),
    ("six", b'6'),
    ("seven", b'7'),
    ("eight", b'8'),
    ("nine", b'9'),
    ("colon", b':'),
    ("semicolon", b';'),
    ("less-than-sign", b'<'),
    ("equals-sign", b'='),
    ("greater-than-sign", b'>'),
    ("question-mark", b'?'),
    ("commercial-at", b'@'),
    ("left-square-bracket", b'['),
    ("backslash", b'\\'),
    ("right-square-bracket", b']'),
    ("circumflex", b'^'),
    ("underscore", b'_'),
    ("grave-accent", b'`'),
    ("left-curly-bracket", b'{'),
    ("vertical-line", b'|'),
    ("right-curly-bracket", b'}'),
    ("tilde", b'~'),
    ("DEL", 127),
];
