//! Compiler of trees to automata: a flat table of steps, each with the index of the next.

use super::parse::{ByteSet, Node, Parsed};

/// The most steps of an automaton, as in GNU's library.
const STEPS_MAX: usize = 100_000;

#[derive(Debug)]
pub struct Program {
    pub steps: Vec<Step>,
    pub start: u32,
    pub group_count: usize,
    /// Number of steps at which a walk may backtrack; each has an index below it.
    pub branch_count: usize,
    /// The bytes that a match can begin with; `None` if it can be empty.
    pub first: Option<ByteSet>,
}

#[derive(Debug, Clone, Copy)]
pub enum Step {
    Set {
        set: ByteSet,
        next: u32,
    },
    /// Matches as many of these bytes as possible, then fewer.
    Run {
        set: ByteSet,
        next: u32,
        branch: u32,
    },
    Begin {
        next: u32,
    },
    End {
        next: u32,
    },
    Open {
        group: u32,
        next: u32,
    },
    Close {
        group: u32,
        next: u32,
    },
    /// Tries both; the longer match wins.
    Either {
        one: u32,
        other: u32,
        branch: u32,
    },
    /// Tries `next` only where `body` does not lead to a match.
    Repeat {
        body: u32,
        next: u32,
        branch: u32,
    },
    Accept,
}

impl Program {
    /// Returns the automaton; `None` if it would be too large.
    pub fn new(parsed: &Parsed) -> Option<Program> {
        let mut builder = Builder { steps: vec![Step::Accept], branches: 0 };
        let start = builder.add(&parsed.root, 0)?;
        let mut program = Program {
            steps: builder.steps,
            start,
            group_count: parsed.group_count,
            branch_count: builder.branches as usize,
            first: None,
        };
        program.first = program.first_bytes();
        Some(program)
    }

    fn first_bytes(&self) -> Option<ByteSet> {
        let mut first = ByteSet::default();
        let mut seen = vec![false; self.steps.len()];
        let mut todo = vec![self.start];
        while let Some(step) = todo.pop() {
            if std::mem::replace(&mut seen[step as usize], true) {
                continue;
            }
            match &self.steps[step as usize] {
                Step::Set { set, .. } => first.union(set),
                Step::Run { set, next, .. } => {
                    first.union(set);
                    todo.push(*next);
                }
                Step::Begin { next } | Step::End { next } => todo.push(*next),
                Step::Open { next, .. } | Step::Close { next, .. } => todo.push(*next),
                Step::Either { one, other, .. } => todo.extend([*one, *other]),
                Step::Repeat { body, next, .. } => todo.extend([*body, *next]),
                Step::Accept => return None,
            }
        }
        Some(first)
    }
}

struct Builder {
    steps: Vec<Step>,
    branches: u32,
}

impl Builder {
    fn push(&mut self, step: Step) -> Option<u32> {
        if self.steps.len() >= STEPS_MAX {
            return None;
        }
        self.steps.push(step);
        Some(self.steps.len() as u32 - 1)
    }

    fn branch(&mut self) -> u32 {
        self.branches += 1;
        self.branches - 1
    }

    /// Adds the steps of a node that lead on to `next`; returns the first of them.
    fn add(&mut self, node: &Node, next: u32) -> Option<u32> {
        match node {
            Node::Empty => Some(next),
            Node::Set(set) => self.push(Step::Set { set: *set, next }),
            Node::Begin => self.push(Step::Begin { next }),
            Node::End => self.push(Step::End { next }),
            Node::Group(group, inner) => {
                let group = *group as u32;
                let close = self.push(Step::Close { group, next })?;
                let inner = self.add(inner, close)?;
                self.push(Step::Open { group, next: inner })
            }
            Node::Concat(nodes) => nodes.iter().rev().try_fold(next, |next, node| self.add(node, next)),
            Node::Alternatives(nodes) => {
                let (first, rest) = nodes.split_first().expect("alternatives are at least two");
                let mut one = self.add(first, next)?;
                for node in rest {
                    let other = self.add(node, next)?;
                    let branch = self.branch();
                    one = self.push(Step::Either { one, other, branch })?;
                }
                Some(one)
            }
            Node::Repeat { node, min, max } => self.repeat(node, *min, *max, next),
        }
    }

    fn repeat(&mut self, node: &Node, min: u32, max: Option<u32>, end: u32) -> Option<u32> {
        let mut next = end;
        let mut copies = min;
        match (max, node) {
            (None, Node::Set(set)) => {
                let branch = self.branch();
                next = self.push(Step::Run { set: *set, next, branch })?;
            }
            (None, _) => {
                let branch = self.branch();
                let repeat = self.push(Step::Repeat { body: 0, next, branch })?;
                let body = self.add(node, repeat)?;
                self.steps[repeat as usize] = Step::Repeat { body, next, branch };
                // `x+` starts with the same steps that it repeats.
                next = if min == 1 { body } else { repeat };
                copies -= u32::from(min == 1);
            }
            (Some(max), _) => {
                for _ in min..max {
                    let body = self.add(node, next)?;
                    let branch = self.branch();
                    next = self.push(Step::Repeat { body, next: end, branch })?;
                }
            }
        }
        for _ in 0..copies {
            let before = self.steps.len();
            next = self.add(node, next)?;
            // A body without steps adds none in later repetitions either.
            if self.steps.len() == before {
                break;
            }
        }
        Some(next)
    }
}
