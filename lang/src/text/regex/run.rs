//! The walk over an automaton: depth first, with an explicit stack.

use super::parse::ByteSet;
use super::program::{Program, Step};
use super::{Groups, Match, TooMuchMemory};

/// Steps per byte after which a walk begins to memoise failures. Most walks end sooner and need no
/// memory.
const STEPS_FREE: usize = 32;

/// The most frames of a walk, and the most words of its memory: half a gigabyte each.
const FRAMES_MAX: usize = if cfg!(test) { 4 << 20 } else { 16 << 20 };
const MEMO_WORDS_MAX: usize = if cfg!(test) { 1 << 20 } else { 32 << 20 };

#[derive(Debug)]
pub struct Run<'t> {
    program: &'t Program,
    text: &'t [u8],
    /// Offset at which a match must begin; `^` and the ban on empty matches depend on it.
    begin: usize,
    at_text_start: bool,
    non_empty: bool,
    whole: bool,
    groups: Vec<Group>,
    /// End and groups of the best match so far.
    best: Option<(usize, Vec<Group>)>,
    /// Offset at which each repetition was last entered on this path, and how often there: at most
    /// twice.
    entered: Vec<(usize, u8)>,
    stack: Vec<Frame>,
    steps: usize,
    /// Number of steps after which failures are memoised.
    steps_free: usize,
    memo: Option<Memo>,
    /// Set when the walk was aborted, which makes its result invalid.
    out_of_memory: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Group {
    start: usize,
    end: usize,
    matched: bool,
}

/// Action when the walk backtracks, with the information whether it found a match.
#[derive(Debug)]
enum Frame {
    OpenAs {
        group: u32,
        start: usize,
    },
    CloseAs {
        group: u32,
        old: Group,
    },
    /// Try this too, regardless of the result of the first.
    Other {
        step: u32,
        at: usize,
    },
    /// The second has been tried; the first found this.
    Either {
        found: bool,
    },
    /// Try this if there was no match.
    Else {
        step: u32,
        at: usize,
    },
    EnteredAs {
        branch: u32,
        old: (usize, u8),
    },
    /// Give back one byte and try again, down to `least`.
    Fewer {
        step: u32,
        at: usize,
        least: usize,
    },
    /// Memoise the result; a failure holds at the next `length` offsets too.
    Memoise {
        bit: usize,
        length: usize,
    },
}

/// Results of branches at offsets: two bits each.
#[derive(Debug)]
struct Memo {
    failed: Vec<u64>,
    found: Vec<u64>,
    /// The bits of `found`, which are valid for one `begin` only.
    found_bits: Vec<usize>,
}

impl<'t> Run<'t> {
    pub fn new(program: &'t Program, text: &'t [u8]) -> Self {
        Run {
            program,
            text,
            begin: 0,
            at_text_start: true,
            non_empty: false,
            whole: false,
            groups: vec![Group::default(); program.group_count],
            best: None,
            entered: vec![(usize::MAX, 0); program.branch_count],
            stack: Vec::new(),
            steps: 0,
            steps_free: STEPS_FREE * (text.len() + 64),
            memo: None,
            out_of_memory: false,
        }
    }

    #[cfg(test)]
    pub fn set_steps_free(&mut self, steps: usize) {
        self.steps_free = steps;
    }

    #[cfg(test)]
    pub fn steps(&self) -> usize {
        self.steps
    }

    pub fn whole(mut self) -> Result<Option<Groups>, TooMuchMemory> {
        self.whole = true;
        let found = self.walk();
        if self.out_of_memory {
            return Err(TooMuchMemory);
        }
        Ok(found.then(|| self.take_best().groups))
    }

    pub fn is_out_of_memory(&self) -> bool {
        self.out_of_memory
    }

    /// Returns the first match that begins at `start` or later; `^` matches at `start` if
    /// `at_text_start`.
    pub fn search(&mut self, start: usize, at_text_start: bool) -> Option<Match> {
        self.non_empty = false;
        self.at_text_start = at_text_start;
        let first = self.program.first;
        for begin in start..=self.text.len() {
            if self.out_of_memory {
                return None;
            }
            if first.is_none_or(|first| self.text.get(begin).is_some_and(|&byte| first.contains(byte))) {
                self.begin = begin;
                if self.walk() {
                    return Some(self.take_best());
                }
            }
            self.at_text_start = false;
        }
        None
    }

    /// Returns the match that begins at `start` and is not empty.
    pub fn non_empty_at(&mut self, start: usize) -> Option<Match> {
        self.begin = start;
        self.non_empty = true;
        self.at_text_start = start == 0;
        self.walk().then(|| self.take_best())
    }

    fn take_best(&mut self) -> Match {
        let (end, groups) = self.best.take().expect("a walk that found something left it here");
        let groups = groups.into_iter().map(|group| group.matched.then_some(group.start..group.end)).collect();
        Match { range: self.begin..end, groups }
    }

    /// Walks from the start of the automaton at `begin`; true when `best` holds a match.
    fn walk(&mut self) -> bool {
        self.groups.fill(Group::default());
        self.entered.fill((usize::MAX, 0));
        self.stack.clear();
        self.best = None;
        if let Some(memo) = &mut self.memo {
            memo.clear_found();
        }
        let (mut step, mut at) = (self.program.start, self.begin);
        loop {
            let Some(found) = self.forward(step, at) else { return true };
            if self.out_of_memory || self.stack.len() > FRAMES_MAX {
                self.out_of_memory = true;
                return false;
            }
            match self.back(found) {
                Ok(place) => (step, at) = place,
                Err(found) => return found,
            }
        }
    }

    /// Follows steps until one ends this path. Returns true when it ended in a match, `None` when
    /// no match can be better.
    fn forward(&mut self, mut step: u32, mut at: usize) -> Option<bool> {
        loop {
            match self.program.steps[step as usize] {
                Step::Set { set, next } => {
                    if !self.text.get(at).is_some_and(|&byte| set.contains(byte)) {
                        return Some(false);
                    }
                    at += 1;
                    step = next;
                }
                Step::Run { set, next, branch } => {
                    if let Some(found) = self.memoised(branch, at) {
                        return Some(found);
                    }
                    let length = self.run_length(&set, branch, at);
                    self.memoise(branch, at, length);
                    if length > 0 {
                        self.stack.push(Frame::Fewer { step: next, at: at + length, least: at });
                    }
                    self.steps += 1;
                    at += length;
                    step = next;
                }
                Step::Begin { next } => {
                    if at != self.begin || !self.at_text_start {
                        return Some(false);
                    }
                    step = next;
                }
                Step::End { next } => {
                    if at != self.text.len() {
                        return Some(false);
                    }
                    step = next;
                }
                Step::Open { group, next } => {
                    let start = std::mem::replace(&mut self.groups[group as usize].start, at);
                    self.stack.push(Frame::OpenAs { group, start });
                    step = next;
                }
                Step::Close { group, next } => {
                    let old = self.groups[group as usize];
                    self.groups[group as usize] = Group { end: at, matched: true, ..old };
                    self.stack.push(Frame::CloseAs { group, old });
                    step = next;
                }
                Step::Either { one, other, branch } => {
                    if self.stack.len() > FRAMES_MAX {
                        return Some(false);
                    }
                    if let Some(found) = self.memoised(branch, at) {
                        return Some(found);
                    }
                    self.memoise(branch, at, 0);
                    self.stack.push(Frame::Other { step: other, at });
                    step = one;
                }
                Step::Repeat { body, next, branch } => {
                    if self.stack.len() > FRAMES_MAX {
                        return Some(false);
                    }
                    if let Some(found) = self.memoised(branch, at) {
                        return Some(found);
                    }
                    self.memoise(branch, at, 0);
                    let old = self.entered[branch as usize];
                    let count = if old.0 == at { old.1 + 1 } else { 1 };
                    if count > 2 {
                        step = next;
                        continue;
                    }
                    self.entered[branch as usize] = (at, count);
                    self.stack.push(Frame::Else { step: next, at });
                    self.stack.push(Frame::EnteredAs { branch, old });
                    step = body;
                }
                Step::Accept => return self.accept(at),
            }
        }
    }

    fn accept(&mut self, at: usize) -> Option<bool> {
        let refused = if self.whole { at != self.text.len() } else { self.non_empty && at == self.begin };
        if refused {
            return Some(false);
        }
        if self.best.as_ref().is_none_or(|&(end, _)| end < at) {
            self.best = Some((at, self.groups.clone()));
        }
        // No match is longer than one to the end, and of equal ones the first wins.
        if at == self.text.len() { None } else { Some(true) }
    }

    /// Backtracks to the next step to try; `Err` with the result if there is none.
    fn back(&mut self, mut found: bool) -> Result<(u32, usize), bool> {
        while let Some(frame) = self.stack.pop() {
            match frame {
                Frame::OpenAs { group, start } => self.groups[group as usize].start = start,
                Frame::CloseAs { group, old } => self.groups[group as usize] = old,
                Frame::Other { step, at } => {
                    self.stack.push(Frame::Either { found });
                    return Ok((step, at));
                }
                Frame::Either { found: before } => found |= before,
                Frame::Else { step, at } => {
                    if !found {
                        return Ok((step, at));
                    }
                }
                Frame::EnteredAs { branch, old } => self.entered[branch as usize] = old,
                Frame::Fewer { step, at, least } => {
                    if !found && at > least {
                        let at = at - 1;
                        self.steps += 1;
                        if at > least {
                            self.stack.push(Frame::Fewer { step, at, least });
                        }
                        return Ok((step, at));
                    }
                }
                Frame::Memoise { bit, length } => {
                    let memo = self.memo.as_mut().expect("frames that memoise are pushed with the memo");
                    memo.memoise(bit, length, found);
                }
            }
        }
        Err(found)
    }

    /// Returns the number of bytes of `set` at `at` that a run may take.
    ///
    /// A run that failed from a later offset failed with each number of its bytes, so this run
    /// stops where it reaches such an offset. Runs that begin at each byte of a long run thus visit
    /// its bytes once, not once each.
    fn run_length(&self, set: &ByteSet, branch: u32, at: usize) -> usize {
        let rest = self.text[at..].iter();
        match &self.memo {
            None => rest.take_while(|&&byte| set.contains(byte)).count(),
            Some(memory) => {
                let bit = self.bit(branch, at);
                let taken = rest
                    .enumerate()
                    .take_while(|&(ahead, &byte)| set.contains(byte) && !memory.has_failed(bit + ahead + 1));
                taken.count()
            }
        }
    }

    /// Returns the index of the bits that store the result of a branch at an offset.
    fn bit(&self, branch: u32, at: usize) -> usize {
        branch as usize * (self.text.len() + 1) + at
    }

    /// Returns the memoised result of a branch at an offset.
    fn memoised(&mut self, branch: u32, at: usize) -> Option<bool> {
        self.steps += 1;
        if self.memo.is_none() {
            if self.steps < self.steps_free {
                return None;
            }
            let words = self.program.branch_count.saturating_mul(self.text.len() + 1).div_ceil(64);
            if words > MEMO_WORDS_MAX {
                self.out_of_memory = true;
                return Some(false);
            }
            self.memo = Some(Memo { failed: vec![0; words], found: vec![0; words], found_bits: Vec::new() });
        }
        self.memo.as_ref()?.memoised(self.bit(branch, at))
    }

    /// Makes the walk memoise the result of a branch at an offset, and a failure at the `length`
    /// offsets after it too.
    fn memoise(&mut self, branch: u32, at: usize, length: usize) {
        if self.memo.is_some() {
            self.stack.push(Frame::Memoise { bit: self.bit(branch, at), length });
        }
    }
}

impl Memo {
    fn has_failed(&self, bit: usize) -> bool {
        self.failed[bit / 64] >> (bit % 64) & 1 != 0
    }

    fn memoised(&self, bit: usize) -> Option<bool> {
        if self.has_failed(bit) {
            return Some(false);
        }
        (self.found[bit / 64] >> (bit % 64) & 1 != 0).then_some(true)
    }

    fn memoise(&mut self, bit: usize, length: usize, found: bool) {
        if found {
            self.found[bit / 64] |= 1 << (bit % 64);
            self.found_bits.push(bit);
        } else {
            (bit..=bit + length).for_each(|bit| self.failed[bit / 64] |= 1 << (bit % 64));
        }
    }

    fn clear_found(&mut self) {
        for bit in self.found_bits.drain(..) {
            self.found[bit / 64] &= !(1 << (bit % 64));
        }
    }
}
