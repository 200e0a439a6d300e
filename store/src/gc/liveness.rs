//! The graph of valid paths, as numbers: a few dozen bytes a path, so that very large stores fit in
//! memory.

use crate::db::{ALL_DERIVERS, ALL_PATHS_BY_ID, ALL_REFERENCES, Session};
use crate::error::StoreError;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The position of a valid path among all, sorted by id.
pub(super) type Index = u32;

/// Edges from each path, one after the other.
#[derive(Debug, Default)]
struct Edges {
    /// The start of the edges of each path, and the end of the last.
    starts: Vec<u32>,
    targets: Vec<Index>,
}

impl Edges {
    /// Sorts `pairs` and converts them to edges of `count` paths.
    fn new(count: usize, mut pairs: Vec<(Index, Index)>) -> Self {
        pairs.sort_unstable();
        pairs.dedup();
        let mut starts = Vec::with_capacity(count + 1);
        for from in 0..=count {
            starts.push(pairs.partition_point(|&(at, _)| (at as usize) < from) as u32);
        }
        Self { starts, targets: pairs.into_iter().map(|(_, to)| to).collect() }
    }

    fn of(&self, from: Index) -> &[Index] {
        &self.targets[self.starts[from as usize] as usize..self.starts[from as usize + 1] as usize]
    }
}

/// All valid paths.
#[derive(Debug, Default)]
pub(super) struct Graph {
    ids: Vec<i64>,
    bytes: Vec<u64>,
    registered_at: Vec<u64>,
    references: Edges,
    /// Edges from outputs to their derivations.
    derivers: Edges,
}

impl Graph {
    pub fn load(session: &Session<'_>) -> Result<Self, StoreError> {
        let mut graph = Self::default();
        session.each(ALL_PATHS_BY_ID, [], |row| {
            graph.ids.push(row.get(0)?);
            graph.bytes.push(row.get::<_, i64>(1)? as u64);
            graph.registered_at.push(row.get::<_, i64>(2)? as u64);
            Ok(())
        })?;
        let pairs = |query| -> Result<Edges, StoreError> {
            let mut pairs = Vec::new();
            session.each(query, [], |row| {
                if let (Some(from), Some(to)) = (graph.index(row.get(0)?), graph.index(row.get(1)?)) {
                    pairs.push((from, to));
                }
                Ok(())
            })?;
            Ok(Edges::new(graph.ids.len(), pairs))
        };
        let (references, derivers) = (pairs(ALL_REFERENCES)?, pairs(ALL_DERIVERS)?);
        (graph.references, graph.derivers) = (references, derivers);
        Ok(graph)
    }

    pub fn index(&self, id: i64) -> Option<Index> {
        self.ids.binary_search(&id).ok().map(|at| at as Index)
    }

    pub fn id(&self, at: Index) -> i64 {
        self.ids[at as usize]
    }

    pub fn all(&self) -> impl Iterator<Item = Index> + use<> {
        0..self.ids.len() as Index
    }

    pub fn bytes(&self, at: Index) -> u64 {
        self.bytes[at as usize]
    }

    pub fn registered_at(&self, at: Index) -> u64 {
        self.registered_at[at as usize]
    }

    /// Marks all paths reachable from `start`: over references, and from outputs to their
    /// derivations.
    pub fn alive(&self, start: impl Iterator<Item = Index>) -> Vec<bool> {
        let mut alive = vec![false; self.ids.len()];
        let mut todo: Vec<Index> = start.collect();
        while let Some(at) = todo.pop() {
            if !std::mem::replace(&mut alive[at as usize], true) {
                todo.extend(
                    self.references.of(at).iter().chain(self.derivers.of(at)).filter(|&&to| !alive[to as usize]),
                );
            }
        }
        alive
    }

    /// Marks `start` and everything that refers to it, directly or not.
    pub fn with_referrers(&self, start: impl Iterator<Item = Index>) -> Vec<bool> {
        let pairs = self.all().flat_map(|from| self.references.of(from).iter().map(move |&to| (to, from)));
        let referrers = Edges::new(self.ids.len(), pairs.collect());
        let mut marked = vec![false; self.ids.len()];
        let mut todo: Vec<Index> = start.collect();
        while let Some(at) = todo.pop() {
            if !std::mem::replace(&mut marked[at as usize], true) {
                todo.extend(referrers.of(at).iter().filter(|&&to| !marked[to as usize]));
            }
        }
        marked
    }

    /// Chooses dead paths to remove, referrers before their references, else the oldest first,
    /// until the rest has at most `max_bytes`.
    pub fn choose(&self, alive: &[bool], max_bytes: Option<u64>) -> Vec<Index> {
        let others = |at: Index| self.references.of(at).iter().copied().filter(move |&to| to != at);
        let mut referrers = vec![0u32; self.ids.len()];
        for to in self.all().flat_map(others) {
            referrers[to as usize] += 1;
        }
        let mut total: u64 = self.bytes.iter().sum();
        let free = self.all().filter(|&at| !alive[at as usize] && referrers[at as usize] == 0);
        let mut free: BinaryHeap<Reverse<(u64, Index)>> =
            free.map(|at| Reverse((self.registered_at(at), at))).collect();
        let mut chosen = Vec::new();
        while let Some(Reverse((_, at))) = free.pop() {
            if max_bytes.is_some_and(|max| total <= max) {
                break;
            }
            total -= self.bytes(at);
            chosen.push(at);
            for to in others(at) {
                referrers[to as usize] -= 1;
                if referrers[to as usize] == 0 && !alive[to as usize] {
                    free.push(Reverse((self.registered_at(to), to)));
                }
            }
        }
        chosen
    }
}
