//! Shows a realisation while it runs: the plan first, then a live tree on a terminal, or a line for
//! each event elsewhere.
//!
//! Everything goes to standard error. The sink only records events; a thread of its own draws the
//! tree ten times a second, so that no build ever waits for a slow terminal.

mod plan;
mod tree;

use builder::{BuildError, Event, EventSink, NodeId, NodeKind, Origin, Plan};
use model::terminal::visible;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Snapshot of one realisation.
#[derive(Default)]
struct View {
    plan: Arc<Plan>,
    running: BTreeMap<NodeId, Running>,
    done: BTreeMap<NodeId, Done>,
    counts: Counts,
    started: Option<Instant>,
    /// Lines the live view has on the screen, to be overwritten.
    drawn_lines: usize,
}

struct Running {
    since: Instant,
    phase: Option<String>,
    line: Option<String>,
    bytes: Option<(u64, Option<u64>)>,
    waiting_for: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Done {
    Finished,
    Failed,
    Stopped,
    Blocked,
}

/// Numbers of nodes by outcome.
#[derive(Default, Clone, Copy)]
pub struct Counts {
    pub built: usize,
    pub cut_off: usize,
    pub fetched: usize,
    pub found: usize,
    pub failed: usize,
    pub stopped: usize,
    pub blocked: usize,
    pub bytes_fetched: u64,
}

/// The way progress is shown.
#[derive(Debug, Clone, Copy)]
pub struct Display {
    pub style: Style,
    /// Print lines of builds as they come.
    pub logs: bool,
}

/// Progress on standard error, until it is finished.
pub struct Progress {
    shared: Arc<Sink>,
    drawer: Option<JoinHandle<()>>,
}

struct Sink {
    state: Mutex<View>,
    style: Style,
    logs: bool,
    stop: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A tree on a terminal, else lines.
    Auto,
    /// A live tree.
    Tree,
    /// A line for each event.
    Plain,
    None,
}

impl Progress {
    /// Starts to show progress.
    pub fn start(display: Display) -> Progress {
        let style = match display.style {
            Style::Auto if std::io::stderr().is_terminal() => Style::Tree,
            Style::Auto => Style::Plain,
            style => style,
        };
        let shared =
            Arc::new(Sink { state: Mutex::default(), style, logs: display.logs, stop: AtomicBool::new(false) });
        let interrupted = Arc::downgrade(&shared);
        crate::interrupt::before_end(move || {
            if let Some(shared) = interrupted.upgrade() {
                shared.stop_all();
            }
        });
        let drawer = (style == Style::Tree).then(|| {
            let shared = shared.clone();
            std::thread::spawn(move || shared.draw_until_stopped())
        });
        Progress { shared, drawer }
    }

    /// Returns the sink for the builder.
    pub fn sink(&self) -> Arc<dyn EventSink> {
        self.shared.clone()
    }

    /// Removes the live view, and prints a summary in one line.
    pub fn finish(mut self) -> Counts {
        let counts = self.shared.end(&mut self.shared.state());
        if let Some(drawer) = self.drawer.take() {
            drop(drawer.join());
        }
        counts
    }
}

/// Writes one line; an error of standard error does not stop a build.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", visible(line));
}

impl Sink {
    fn state(&self) -> MutexGuard<'_, View> {
        os::lock(&self.state)
    }

    fn draw_until_stopped(&self) {
        loop {
            let mut state = self.state();
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            tree::draw(&mut state);
            drop(state);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Removes the live view and prints the summary, once; nothing is shown after that.
    fn end(&self, state: &mut View) -> Counts {
        if !self.stop.swap(true, Ordering::Relaxed) {
            tree::erase(state);
            if self.style != Style::None
                && let Some(line) = summary(state)
            {
                say(&line);
            }
        }
        state.counts
    }

    /// Reports that everything that runs is stopped, because the process ends, and prints the
    /// summary.
    fn stop_all(&self) {
        let state = &mut *self.state();
        if self.stop.load(Ordering::Relaxed) {
            return;
        }
        for node in std::mem::take(&mut state.running).into_keys() {
            self.stopped(state, node);
        }
        self.end(state);
    }

    fn stopped(&self, state: &mut View, node: NodeId) {
        state.counts.stopped += 1;
        state.done.insert(node, Done::Stopped);
        let line = format!("stopped  {}", state.plan.nodes[node].name);
        self.permanent(state, &line);
    }

    /// Prints a line that stays, above the live view if there is one.
    fn permanent(&self, state: &mut View, line: &str) {
        if self.style != Style::None {
            tree::erase(state);
            say(line);
        }
    }
}

impl EventSink for Sink {
    fn event(&self, event: Event) {
        let mut state = self.state();
        let state = &mut *state;
        if self.stop.load(Ordering::Relaxed) {
            return;
        }
        match event {
            Event::Planned { plan } => {
                if !plan.is_empty() {
                    for line in plan::describe(&plan) {
                        self.permanent(state, &line);
                    }
                }
                *state = View { plan, started: Some(Instant::now()), ..View::default() };
            }
            Event::Started { node } => {
                let running =
                    Running { since: Instant::now(), phase: None, line: None, bytes: None, waiting_for: None };
                state.running.insert(node, running);
            }
            Event::Building { node } => {
                if self.style == Style::Plain {
                    let line = format!("building {}", state.plan.nodes[node].name);
                    self.permanent(state, &line);
                }
            }
            Event::Waiting { node, holder } => {
                let who = match holder.pid {
                    Some(pid) => format!("process {pid} ({})", holder.command),
                    None => holder.command,
                };
                let line = format!("waiting for {who}, which holds {}", state.plan.nodes[node].name);
                if self.style == Style::Plain {
                    self.permanent(state, &line);
                }
                update(state, node, |running| running.waiting_for = Some(who));
            }
            Event::Phase { node, phase } => update(state, node, |running| running.phase = Some(phase)),
            Event::LogLine { node, line } => {
                if self.logs {
                    let shown = format!("{}> {line}", state.plan.nodes[node].name);
                    self.permanent(state, &shown);
                }
                update(state, node, |running| running.line = Some(line));
            }
            Event::Progress { node, done_bytes, total_bytes } => {
                update(state, node, |running| running.bytes = Some((done_bytes, total_bytes)));
            }
            Event::Finished { node, origin, duration } => {
                if let Some((bytes, _)) = state.running.remove(&node).and_then(|running| running.bytes) {
                    state.counts.bytes_fetched += bytes;
                }
                state.done.insert(node, Done::Finished);
                let planned = &state.plan.nodes[node];
                let visible =
                    planned.kind == NodeKind::Build || (self.style == Style::Plain && planned.kind == NodeKind::Fetch);
                let name = planned.name.clone();
                let line = match origin {
                    Origin::Built => format!("built    {name} in {}", seconds(duration)),
                    Origin::CutOff => format!("cut off  {name}: reused, its inputs are unchanged"),
                    Origin::Fetched => format!("fetched  {name}"),
                    Origin::Found => format!("found    {name}: built by another process"),
                    Origin::Reproduced => {
                        format!("the same {name}: built again in {}, no byte differs", seconds(duration))
                    }
                };
                match (origin, planned.kind) {
                    (Origin::Fetched, _) => state.counts.fetched += 1,
                    (Origin::Built | Origin::Reproduced, NodeKind::Build) => state.counts.built += 1,
                    (Origin::CutOff, NodeKind::Build) => state.counts.cut_off += 1,
                    (Origin::Found, NodeKind::Build) => state.counts.found += 1,
                    _ => {}
                }
                if visible {
                    self.permanent(state, &line);
                }
            }
            Event::Failed { node, failure } => {
                state.running.remove(&node);
                if let BuildError::Cancelled = failure.error {
                    return self.stopped(state, node);
                }
                state.done.insert(node, Done::Failed);
                state.counts.failed += 1;
                let line = format!("failed   {}", failure.name());
                self.permanent(state, &line);
            }
            // A node that needs a stopped build is not blocked by a failure.
            Event::Blocked { by, .. } if state.done.get(&by) == Some(&Done::Stopped) => {}
            Event::Blocked { node, .. } => {
                state.done.insert(node, Done::Blocked);
                state.counts.blocked += 1;
            }
            Event::Warning { text, .. } => self.permanent(state, &format!("warning: {text}")),
        }
    }
}

fn update(state: &mut View, node: NodeId, change: impl FnOnce(&mut Running)) {
    if let Some(running) = state.running.get_mut(&node) {
        change(running);
    }
}

fn summary(state: &View) -> Option<String> {
    if state.plan.is_empty() {
        return state.started.map(|_| "up to date: nothing to do".to_owned());
    }
    let counts = state.counts;
    let parts = [
        (counts.fetched, "fetched"),
        (counts.built, "built"),
        (counts.cut_off, "cut off"),
        (counts.found, "found"),
        (counts.failed, "failed"),
        (counts.stopped, "stopped"),
        (counts.blocked, "blocked by failures"),
    ];
    let mut text: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if text.is_empty() {
        text.push("nothing had to be built".to_owned());
    }
    let took = state.started.map(|at| seconds(at.elapsed())).unwrap_or_default();
    Some(format!("{} in {took}", text.join(", ")))
}

/// `3.2 s`, `4 min 05 s`
pub fn seconds(duration: Duration) -> String {
    let secs = duration.as_secs_f64();
    if secs < 9.95 {
        format!("{secs:.1} s")
    } else if secs < 60.0 {
        format!("{secs:.0} s")
    } else {
        format!("{} min {:02} s", duration.as_secs() / 60, duration.as_secs() % 60)
    }
}

/// `812 B`, `1.4 MB`
pub fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.0} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.2} GB", count as f64 / 1e9),
    }
}
