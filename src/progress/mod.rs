//! Shows a realisation while it runs: the plan first, then a live tree on a terminal, or a line for
//! each event elsewhere.
//!
//! Everything goes to standard error. The sink only records events; a thread of its own draws the
//! tree ten times a second, so that no build ever waits for a slow terminal, or prints a heartbeat
//! when nothing was printed for a minute. A failure is reported in full when it happens.

mod estimate;
mod groups;
mod heartbeat;
mod plan;
mod tree;

pub mod events;
pub mod screen;

use crate::print::remark_for_programs;
use crate::report::Failure;
use builder::report::listed;
use builder::{BuildError, DerivationFailure, Event, EventSink, NodeId, NodeKind, Origin, Plan};
use groups::{Groups, Lines};
use model::terminal::visible;
use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use workspace::EditableFiles;

/// Set once a failed build was reported.
static REPORTED: AtomicBool = AtomicBool::new(false);

/// Returns whether failed builds were reported when they failed: the end need not repeat that.
pub fn has_reported() -> bool {
    REPORTED.load(Ordering::Relaxed)
}

/// Interval between two frames of the tree.
const FRAME: Duration = Duration::from_millis(100);

/// Snapshot of one realisation.
#[derive(Default)]
struct View {
    plan: Arc<Plan>,
    running: BTreeMap<NodeId, Running>,
    done: BTreeMap<NodeId, Done>,
    counts: Counts,
    started: Option<Instant>,
    /// Time at which a line was last printed.
    said: Option<Instant>,
    /// Hosts that a failed fetch could not reach: each is reported once.
    unreachable: BTreeSet<String>,
    /// Set once a failure said which builds still run.
    waits: bool,
}

struct Running {
    since: Instant,
    /// True once its builder runs.
    building: bool,
    phase: Option<String>,
    line: Option<String>,
    bytes: Option<(u64, Option<u64>)>,
    waiting_for: Option<String>,
    /// Its log, where that is printed as a group.
    log: Lines,
}

impl Running {
    fn new(since: Instant) -> Running {
        Running {
            since,
            building: false,
            phase: None,
            line: None,
            bytes: None,
            waiting_for: None,
            log: Lines::default(),
        }
    }
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
    /// Archives unpacked, and trees put together.
    pub made: usize,
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
    /// Report failures as JSON objects.
    pub json_errors: bool,
    /// True when the builds that run at a failure are waited for, and no other starts.
    pub waits_at_failure: bool,
    /// Builds that run at a time.
    pub slots: usize,
}

/// Progress on standard error, until it is finished.
pub struct Progress {
    shared: Arc<Sink>,
    drawer: Option<JoinHandle<()>>,
}

struct Sink {
    state: Mutex<View>,
    display: Display,
    groups: Option<Groups>,
    /// Files whose lines a report may name.
    files: Mutex<EditableFiles>,
    stop: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A tree on a terminal, else lines, grouped where a known pipeline runs the command.
    Auto,
    /// A live tree.
    Tree,
    /// A line for each event.
    Plain,
    /// Lines, with logs in the groups of GitHub Actions.
    Github,
    /// Lines, with logs in the sections of GitLab.
    Gitlab,
    None,
}

impl Style {
    /// Returns the style for standard error.
    fn resolve(self) -> Style {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        match self {
            // A terminal of which nothing is known, or only that it can do nothing.
            Style::Auto if std::io::stderr().is_terminal() => match variable("TERM").as_str() {
                "" | "dumb" => Style::Plain,
                _ => Style::Tree,
            },
            Style::Auto if variable("GITHUB_ACTIONS") == "true" => Style::Github,
            Style::Auto if variable("GITLAB_CI") == "true" => Style::Gitlab,
            Style::Auto => Style::Plain,
            style => style,
        }
    }
}

impl Progress {
    /// Starts to show progress.
    pub fn start(display: Display) -> Progress {
        let style = display.style.resolve();
        let groups = match style {
            Style::Github => Some(Groups::Github),
            Style::Gitlab => Some(Groups::Gitlab),
            _ => None,
        };
        let shared = Arc::new(Sink {
            state: Mutex::default(),
            display: Display { style, ..display },
            groups,
            files: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let interrupted = Arc::downgrade(&shared);
        crate::interrupt::before_end(move || {
            if let Some(shared) = interrupted.upgrade() {
                shared.stop_all();
            }
        });
        let drawer = (style != Style::None).then(|| {
            let shared = shared.clone();
            std::thread::spawn(move || shared.draw_until_stopped())
        });
        Progress { shared, drawer }
    }

    /// Returns the sink for the builder.
    pub fn sink(&self) -> Arc<dyn EventSink> {
        self.shared.clone()
    }

    /// Sets the files whose lines a report may name.
    pub fn set_files(&self, files: EditableFiles) {
        *os::lock(&self.shared.files) = files;
    }

    /// Removes the live view, and prints a summary in one line.
    pub fn finish(mut self) -> Counts {
        let counts = self.shared.end(&mut self.shared.state());
        if let Some(drawer) = self.drawer.take() {
            drawer.thread().unpark();
            drop(drawer.join());
        }
        counts
    }
}

impl Sink {
    fn state(&self) -> MutexGuard<'_, View> {
        os::lock(&self.state)
    }

    fn is_tree(&self) -> bool {
        self.display.style == Style::Tree
    }

    /// Returns true when each event has a line.
    fn is_lines(&self) -> bool {
        !matches!(self.display.style, Style::Tree | Style::None)
    }

    fn draw_until_stopped(&self) {
        loop {
            let mut state = self.state();
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let now = Instant::now();
            let pause = if self.is_tree() {
                tree::draw(&state, now, self.display.slots);
                FRAME
            } else {
                if let Some(line) = heartbeat::line(&state, now, self.display.slots) {
                    self.permanent(&mut state, &line);
                }
                heartbeat::until_next(&state, now)
            };
            drop(state);
            std::thread::park_timeout(pause);
        }
    }

    /// Removes the live view and prints the summary, once; nothing is shown after that.
    fn end(&self, state: &mut View) -> Counts {
        if !self.stop.swap(true, Ordering::Relaxed) {
            screen::erase();
            if self.display.style != Style::None
                && let Some(line) = summary(state)
            {
                self.permanent(state, &line);
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

    /// Reports a failure in full, and the builds that are waited for because of it.
    fn failed(&self, state: &mut View, node: NodeId, failure: &DerivationFailure) {
        let ran = state.running.remove(&node);
        if let BuildError::Cancelled = failure.error {
            return self.stopped(state, node);
        }
        state.done.insert(node, Done::Failed);
        state.counts.failed += 1;
        state.said = Some(Instant::now());
        let is_known = failure.error.unreachable().is_some_and(|(host, _)| !state.unreachable.insert(host.to_owned()));
        REPORTED.store(true, Ordering::Relaxed);
        if !is_known {
            let report = Failure::of_build(failure, &os::lock(&self.files));
            match self.display.json_errors {
                true => remark_for_programs(&report.diagnostic().to_string()),
                false => report.print(false),
            }
        }
        if let (Some(groups), Some(ran)) = (&self.groups, &ran) {
            screen::above(&groups.log(failure.name(), &ran.log));
        }
        let builds: Vec<&str> = state
            .running
            .iter()
            .filter(|(_, running)| running.building)
            .map(|(&node, _)| state.plan.nodes[node].name.as_str())
            .collect();
        if self.display.waits_at_failure && !builds.is_empty() && !std::mem::replace(&mut state.waits, true) {
            let (count, noun) = match builds.len() {
                1 => ("1", "build that runs"),
                count => (&*count.to_string(), "builds that run"),
            };
            let line = format!("waiting for {count} {noun}: {} (Ctrl-C stops them)", listed(builds));
            self.permanent(state, &line);
        }
    }

    /// Prints a line that stays, above the live view if there is one.
    fn permanent(&self, state: &mut View, line: &str) {
        if self.display.style != Style::None {
            state.said = Some(Instant::now());
            let line = visible(line);
            let line = self.groups.as_ref().map_or_else(|| line.to_string(), |groups| groups.line(&line));
            screen::above(&format!("{line}\n"));
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
                let unreachable = std::mem::take(&mut state.unreachable);
                let now = Some(Instant::now());
                *state = View { plan, started: now, said: now, unreachable, ..View::default() };
            }
            Event::Started { node } => {
                state.running.insert(node, Running::new(Instant::now()));
            }
            Event::Building { node } => {
                update(state, node, |running| running.building = true);
                if self.is_lines() {
                    let planned = &state.plan.nodes[node];
                    let about = planned.expected.filter(|&time| time >= estimate::WORTH_SAYING);
                    let about = about.map(|time| format!(", about {}", minutes(time))).unwrap_or_default();
                    let line = format!("building {}{about}", planned.name);
                    self.permanent(state, &line);
                }
            }
            Event::Waiting { node, holder } => {
                let who = match holder.pid {
                    Some(pid) => format!("process {pid} ({})", holder.command),
                    None => holder.command,
                };
                let line = format!("waiting for {who}, which holds {}", state.plan.nodes[node].name);
                if self.is_lines() {
                    self.permanent(state, &line);
                }
                update(state, node, |running| running.waiting_for = Some(who));
            }
            Event::Phase { node, phase } => update(state, node, |running| running.phase = Some(phase)),
            Event::LogLine { node, line } => {
                if self.groups.is_some() {
                    update(state, node, |running| running.log.push(&line));
                } else if self.display.logs {
                    let shown = format!("{}> {line}", state.plan.nodes[node].name);
                    self.permanent(state, &shown);
                }
                update(state, node, |running| running.line = Some(line));
            }
            Event::Progress { node, done_bytes, total_bytes } => {
                update(state, node, |running| running.bytes = Some((done_bytes, total_bytes)));
            }
            Event::Finished { node, origin, duration } => {
                let ran = state.running.remove(&node);
                if let Some((bytes, _)) = ran.as_ref().and_then(|running| running.bytes) {
                    state.counts.bytes_fetched += bytes;
                }
                state.done.insert(node, Done::Finished);
                let planned = &state.plan.nodes[node];
                let visible = planned.kind == NodeKind::Build || (self.is_lines() && planned.kind == NodeKind::Fetch);
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
                    (Origin::Built, NodeKind::Tree | NodeKind::Unpack) => state.counts.made += 1,
                    _ => {}
                }
                if visible {
                    let left = estimate::left(state, Instant::now(), self.display.slots);
                    let left = left.filter(|&left| self.is_lines() && left >= estimate::WORTH_SAYING);
                    let left = left.map(|left| format!("; about {} left", minutes(left))).unwrap_or_default();
                    self.permanent(state, &format!("{line}{left}"));
                }
                if let (Some(groups), Some(ran), true) = (&self.groups, &ran, self.display.logs) {
                    screen::above(&groups.log(&name, &ran.log));
                }
            }
            Event::Failed { node, failure } => self.failed(state, node, &failure),
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
        text.push(match counts.made {
            0 => "nothing had to be built".to_owned(),
            1 => "1 tree put together".to_owned(),
            made => format!("{made} trees put together"),
        });
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

/// `12 s`, `5 min`, `2 h 05 min`: for times that are not exact.
pub fn minutes(duration: Duration) -> String {
    match duration.as_secs() {
        secs @ 0..60 => format!("{secs} s"),
        secs @ 60..3600 => format!("{} min", secs / 60),
        secs => format!("{} h {:02} min", secs / 3600, secs % 3600 / 60),
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
