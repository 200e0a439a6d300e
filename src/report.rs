//! Errors for people and programs: text with source lines, JSON, and an exit status.
//!
//! Libraries return their own errors, which become a [`Failure`] here.

use crate::exit::Exit;
use crate::interrupt;
use crate::progress::screen;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use builder::{BuildError, BuildReport, BuilderFailure, DerivationFailure};
use model::terminal::{is_active, visible};
use model::{StoreModel, StorePath};
use std::borrow::Cow;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use workspace::EditableFiles;
use workspace::installable::InstallableError;

/// Codes of failures that come from no library.
#[cfg(test)]
pub const CODES: [&str; 6] = ["error", "installable", "interrupted", "io", "registry", "usage"];

/// An error as it is reported.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub code: &'static str,
    message: String,
    help: Option<String>,
    /// Present for errors of the language: positions, trace.
    evaluation: Option<Box<lang::error::Report>>,
    /// Report of the builds, when one of them failed.
    builds: Option<Box<BuildReport>>,
    /// Further fields of [`Failure::to_json`].
    details: Option<Box<serde_json::Map<String, serde_json::Value>>>,
    /// True when each failed build was reported when it failed, so that the text need not repeat it.
    is_summary: bool,
    /// Files that are searched for places to change.
    files: EditableFiles,
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Failure {
        Failure {
            exit: Exit::Error,
            code: "error",
            message: message.into(),
            help: None,
            evaluation: None,
            builds: None,
            details: None,
            is_summary: false,
            files: EditableFiles::default(),
        }
    }

    /// Adds fields to the object that `--json` prints.
    #[must_use]
    pub fn with_details(self, details: serde_json::Value) -> Failure {
        let serde_json::Value::Object(details) = details else { return self };
        Failure { details: Some(Box::new(details)), ..self }
    }

    /// Makes the failure of one build, to be reported while others run. `files` are searched for
    /// the lines to change.
    pub fn of_build(failure: &DerivationFailure, files: &EditableFiles) -> Failure {
        let code = failure.error.code();
        let report = Failure { exit: exit_of(code), code, help: failure.help(), ..Failure::new(failure.to_string()) };
        match hash_help([failure], files) {
            Some(help) => report.help(help),
            None => report,
        }
    }

    /// Marks the builds as reported: the text that follows is a summary.
    #[must_use]
    pub fn after_reports(mut self) -> Failure {
        let summary = self.builds().map(BuildReport::summary_text);
        if let (Some(summary), Some(report)) = (summary, &mut self.evaluation) {
            // Its positions say which part of the evaluation waited.
            report.message = summary;
        }
        Failure { is_summary: true, ..self }
    }

    /// Adds the lines that contain the old hash to the help of a hash mismatch, and to its object in
    /// JSON.
    #[must_use]
    pub fn with_places(mut self, files: &EditableFiles) -> Failure {
        self.files = files.clone();
        let failures = self.builds().map(|builds| builds.failures.iter().map(|failure| &**failure).collect::<Vec<_>>());
        match failures.and_then(|failures| hash_help(failures, files)) {
            Some(help) => self.help(help),
            None => self,
        }
    }

    /// Makes the failure of a file operation; `attempt` is a verb phrase, such as "cannot read".
    pub fn io(attempt: &str, path: &Path, cause: std::io::Error) -> Failure {
        Failure { code: "io", ..Failure::new(format!("{attempt} `{}`: {}", path.display(), os::io_reason(&cause))) }
    }

    pub fn usage(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Usage, code: "usage", ..Failure::new(message) }
    }

    /// Returns the report of the builds, when one of them failed: of those asked for, or of those
    /// that the evaluation waited for.
    pub fn builds(&self) -> Option<&BuildReport> {
        let evaluation = || match build_error(self.evaluation.as_ref()?.cause.as_deref()?)? {
            BuildError::Failed(report) => Some(&**report),
            _ => None,
        };
        self.builds.as_deref().or_else(evaluation)
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    /// Makes the failure of a command that a signal ended.
    pub fn interrupted() -> Failure {
        Failure { exit: interrupt::exit(), code: "interrupted", ..Failure::new(BuildError::Cancelled.to_string()) }
    }

    /// Returns the failure to report when a signal came before this one: stopped work fails in many
    /// ways, and none of them is the reason. Builds that failed by themselves stay reported.
    #[must_use]
    pub fn after_signal(self) -> Failure {
        let stopped = matches!(self.exit, Exit::Interrupted(_));
        let is_reason = match &self.evaluation {
            // Positions in expressions do not explain a signal.
            Some(_) => self.builds().is_some() && !stopped,
            None => self.builds.is_some() || stopped,
        };
        if is_reason { self } else { Failure::interrupted() }
    }

    #[must_use]
    pub fn code(self, code: &'static str) -> Failure {
        Failure { code, ..self }
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Failure {
        let help = help.into();
        if let Some(report) = &mut self.evaluation {
            report.help = Some(help.clone());
        }
        self.help = Some(help);
        self
    }

    /// Prints to standard error.
    pub fn print(&self, show_trace: bool) {
        let styled = self.text(show_trace);
        let text = match anstream::AutoStream::choice(&std::io::stderr()) {
            anstream::ColorChoice::Never => anstream::adapter::strip_str(&styled).to_string(),
            _ => styled,
        };
        screen::above(&format!("{text}\n"));
    }

    /// Returns the message in place of one that would repeat reports.
    fn summary(&self) -> Option<String> {
        self.builds.as_deref().filter(|_| self.is_summary).map(BuildReport::summary_text)
    }

    /// Returns the text for people.
    fn text(&self, show_trace: bool) -> String {
        match &self.evaluation {
            Some(report) => render(report, show_trace),
            None => {
                let summary = self.summary();
                let message = summary.as_deref().unwrap_or(&self.message);
                let (first, details) = message.split_once('\n').unwrap_or((message, ""));
                let title = Level::ERROR.primary_title(visible(first));
                // Other codes say no more than the message does.
                let has_code = self.code.contains("::") || self.code == "installable";
                let mut group = Group::with_title(if has_code { title.id(self.code) } else { title });
                if let Some(help) = self.help.as_ref().filter(|_| summary.is_none()) {
                    group = group.element(Level::HELP.message(visible(help)));
                }
                with_details(&Renderer::styled().render(&[group]), details)
            }
        }
    }

    /// Returns whether this is a mistake at the very end of `text`, which more text could correct.
    pub fn ends_early(&self, text: &str) -> bool {
        self.evaluation.as_ref().is_some_and(|report| {
            let syntax = !report.code.contains("::");
            syntax
                && (report.code.starts_with("unterminated")
                    || report.labels.first().is_some_and(|label| label.start as usize >= text.trim_end().len()))
        })
    }

    /// The form of `--error-format json`.
    pub fn diagnostic(&self) -> serde_json::Value {
        match &self.evaluation {
            Some(report) => diagnostic_of(report),
            None => {
                let summary = self.summary();
                let notes: Vec<_> = self.help.iter().filter(|_| summary.is_none()).collect();
                serde_json::json!({
                    "severity": "error", "code": self.code, "message": summary.as_ref().unwrap_or(&self.message),
                    "notes": notes, "labels": [], "frames": [], "further": []
                })
            }
        }
    }

    /// The form that `--json` prints.
    pub fn to_json(&self) -> serde_json::Value {
        let builds = self.builds().filter(|builds| builds.failures.len() > 1);
        let message = builds.map_or_else(|| self.message.clone(), BuildReport::names_text);
        let mut error = serde_json::json!({ "code": self.code, "message": message });
        if let Some(help) = &self.help {
            error["help"] = help.as_str().into();
        }
        if let Some(report) = &self.evaluation {
            error["places"] = report.labels.iter().map(place).collect();
            error["trace"] = report.trace.iter().map(|frame| serde_json::json!(frame.text)).collect();
        }
        let mut object = serde_json::json!({
            "version": 1, "success": false, "exitStatus": self.exit.status(), "error": error
        });
        if let Some(builds) = self.builds() {
            let print = |path: &StorePath| StoreModel::Native.print(path);
            let blocked =
                builds.blocked.iter().map(|(drv, by)| serde_json::json!({ "drvPath": print(drv), "by": print(by) }));
            object["failures"] =
                builds.failures.iter().map(|failure| failure_json(failure, Some(&self.files))).collect();
            object["blocked"] = blocked.collect();
            object["notStarted"] = builds.not_started.iter().map(print).collect();
        }
        for (name, value) in self.details.iter().flat_map(|details| details.iter()) {
            object[name] = value.clone();
        }
        object
    }
}

/// Returns a failed derivation as an object; `docs/schemas/failure.json` describes it. The places of
/// a wrong hash are searched in `files`.
pub fn failure_json(failure: &DerivationFailure, files: Option<&EditableFiles>) -> serde_json::Value {
    let log = failure.log.as_ref();
    let (exit_status, signal) = match &failure.error {
        BuildError::Builder(BuilderFailure::Exited(status))
        | BuildError::DiskFull { failure: BuilderFailure::Exited(status), .. } => (Some(*status), None),
        BuildError::Builder(BuilderFailure::Signalled(signal)) => (None, Some(*signal)),
        _ => (None, None),
    };
    let hash = match &failure.error {
        BuildError::HashMismatch(mismatch) => Some(serde_json::json!({
            "specified": mismatch.specified, "actual": mismatch.actual, "urls": mismatch.urls,
            "places": files.map(|files| files.occurrences_of(&mismatch.specified)).unwrap_or_default(),
        })),
        _ => None,
    };
    serde_json::json!({
        "drvPath": StoreModel::Native.print(&failure.drv),
        "name": failure.name(),
        "code": failure.error.code(),
        "message": failure.error.to_string(),
        "help": failure.error.help(),
        "logPath": log.map(|log| &log.path),
        "phase": log.and_then(|log| log.phase.as_ref()),
        "command": log.and_then(|log| log.command.as_ref()),
        "firstError": log.and_then(|log| log.first_error.as_ref()),
        "lastLines": log.map(|log| &log.tail),
        "builderExitStatus": exit_status,
        "builderSignal": signal,
        "unreachableHost": failure.error.unreachable().map(|(host, _)| host),
        "hash": hash,
        "kept": failure.kept.as_ref().map(|kept| &kept.path),
    })
}

/// Returns the help of fixed outputs with other contents: the lines that specify their hashes.
/// `None` when no line is known.
fn hash_help<'f>(failures: impl IntoIterator<Item = &'f DerivationFailure>, files: &EditableFiles) -> Option<String> {
    let mismatches = failures.into_iter().filter_map(|failure| match &failure.error {
        BuildError::HashMismatch(mismatch) => Some((failure.name(), files.occurrences_of(&mismatch.specified))),
        _ => None,
    });
    let mut known: Vec<(&str, String)> = Vec::new();
    for (name, places) in mismatches {
        let places = places.iter().map(|place| format!("`{place}`")).collect::<Vec<_>>().join(", ");
        if !places.is_empty() && !known.iter().any(|(_, other)| *other == places) {
            known.push((name, places));
        }
    }
    let lines = match known.as_slice() {
        [] => return None,
        [(_, places)] => format!("write the new hash in {places}"),
        known => {
            let lines = known.iter().map(|(name, places)| format!("the new hash of `{name}` in {places}"));
            format!("write {}", lines.collect::<Vec<_>>().join("; "))
        }
    };
    Some(format!("when the new contents are what you want, {lines}"))
}

/// Returns an error as one object for editors and other programs; the book's page of errors
/// describes it.
fn diagnostic_of(report: &lang::error::Report) -> serde_json::Value {
    let labels: Vec<serde_json::Value> = report.labels.iter().map(span).collect();
    let frames = report.trace.iter().map(|frame| {
        let mut object = serde_json::json!({ "message": frame.text });
        if let Some((source, offset)) = &frame.place {
            let (line, column) = source.position(*offset);
            object["file"] = lang::error::origin_name(&source.origin).into();
            object["line"] = line.into();
            object["column"] = column.into();
        }
        object
    });
    let mut object = labels.first().cloned().unwrap_or_else(|| serde_json::json!({}));
    object["severity"] = "error".into();
    object["code"] = report.code.into();
    object["message"] = report.message.as_str().into();
    object["notes"] = report.help.iter().map(|help| serde_json::Value::from(help.as_str())).collect();
    object["labels"] = labels.into_iter().skip(1).collect();
    object["frames"] = frames.collect();
    object["cycle"] = report.cycle_len.into();
    object["further"] = report.further.iter().map(diagnostic_of).collect();
    object
}

fn span(label: &lang::error::Label) -> serde_json::Value {
    let ((line, column), (end_line, end_column)) =
        (label.source.position(label.start), label.source.position(label.end));
    serde_json::json!({
        "file": lang::error::origin_name(&label.source.origin), "line": line, "column": column,
        "endLine": end_line, "endColumn": end_column, "message": label.text
    })
}

fn place(label: &lang::error::Label) -> serde_json::Value {
    let (line, column) = label.source.position(label.start);
    serde_json::json!({
        "file": lang::error::origin_name(&label.source.origin), "line": line, "column": column, "text": label.text
    })
}

/// Returns the part of a message that is the title, and the lines after it: those of a failed build
/// are a report.
fn title_and_details(report: &lang::error::Report) -> (&str, &str) {
    let is_of_build = report.code.starts_with("build::");
    report.message.split_once('\n').filter(|_| is_of_build).unwrap_or((&report.message, ""))
}

/// Returns a report with lines after its title, indented. The renderer would indent them by the
/// length of the code.
fn with_details(rendered: &str, details: &str) -> String {
    let (title, rest) = rendered.split_once('\n').unwrap_or((rendered, ""));
    let details = details.lines().map(|line| format!("  {}", visible(line)));
    let lines = std::iter::once(title.to_owned()).chain(details);
    lines.chain((!rest.is_empty()).then(|| rest.to_owned())).collect::<Vec<_>>().join("\n")
}

/// Frames of a trace that are shown without `--show-trace`.
const FRAMES_SHOWN: usize = 5;

fn render(report: &lang::error::Report, show_trace: bool) -> String {
    let renderer = Renderer::styled();
    let (_, details) = title_and_details(report);
    let mut text = with_details(&renderer.render(&[group(report)]), details);
    for further in &report.further {
        text.push_str("\n\n");
        text.push_str(&renderer.render(&[group(further)]));
    }
    text.push_str(&cycle(report));
    let mine = UserFiles::of(report);
    let (mut shown, mut folded, mut hidden) = (0, 0, report.frames_dropped);
    for frame in &report.trace[report.cycle_len..] {
        if !show_trace && !mine.frame(frame) {
            folded += 1;
        } else if !show_trace && shown == FRAMES_SHOWN {
            hidden += 1;
        } else {
            shown += 1;
            text.push_str(&folded_line(&mut folded));
            text.push_str("\n  … ");
            text.push_str(&visible(&frame.text));
            if let Some(place) = frame_place(frame) {
                text.push_str(&format!("\n    at {place}"));
            }
        }
    }
    text.push_str(&folded_line(&mut folded));
    if hidden > 0 {
        text.push_str(&format!("\n  … {hidden} more frames (`--show-trace` shows all)"));
    }
    text
}

fn folded_line(folded: &mut usize) -> String {
    match std::mem::take(folded) {
        0 => String::new(),
        1 => "\n  … 1 frame in library files (`--show-trace` shows it)".to_owned(),
        count => format!("\n  … {count} frames in library files (`--show-trace` shows them)"),
    }
}

fn frame_place(frame: &lang::error::Trace) -> Option<String> {
    let (source, offset) = frame.place.as_ref()?;
    let (line, column) = source.position(*offset);
    Some(format!("{}:{line}:{column}", shown_name(source)))
}

/// Draws the attributes that need each other as a ring.
fn cycle(report: &lang::error::Report) -> String {
    let ring = &report.trace[..report.cycle_len];
    let mut text = String::new();
    for (index, frame) in ring.iter().rev().enumerate() {
        let edge = match index {
            _ if ring.len() == 1 => "↻  ",
            0 => "╭─▶",
            _ if index + 1 == ring.len() => "╰──",
            _ => "│  ",
        };
        text.push_str(&format!("\n  {edge} {}", visible(&frame.text)));
        if let Some(place) = frame_place(frame) {
            text.push_str(&format!("  ({place})"));
        }
    }
    text
}

/// The files of the user: those below the working directory and outside every store. When nothing
/// of an error is in one of them, all files are treated as the user's.
struct UserFiles {
    directory: Option<std::path::PathBuf>,
}

impl UserFiles {
    fn of(report: &lang::error::Report) -> UserFiles {
        let mine = UserFiles { directory: std::env::current_dir().ok() };
        let any = report.labels.iter().any(|label| mine.source(&label.source))
            || report.trace.iter().any(|frame| frame.place.as_ref().is_some_and(|(source, _)| mine.source(source)));
        if any { mine } else { UserFiles { directory: None } }
    }

    fn source(&self, source: &lang::source::SourceText) -> bool {
        let Some(directory) = &self.directory else { return true };
        match &source.origin {
            lang::source::Origin::File(path) => {
                let models = [model::StoreModel::Native, model::StoreModel::Nix];
                let stored = models.iter().any(|model| Path::new(&**path).starts_with(model.store_dir()));
                Path::new(&**path).starts_with(directory) && !stored
            }
            lang::source::Origin::CommandLine | lang::source::Origin::StandardInput => true,
            lang::source::Origin::Internal(_) => false,
        }
    }

    fn frame(&self, frame: &lang::error::Trace) -> bool {
        frame.place.as_ref().is_none_or(|(source, _)| self.source(source))
    }
}

fn group(report: &lang::error::Report) -> Group<'_> {
    let (title, _) = title_and_details(report);
    let mut group = Group::with_title(Level::ERROR.primary_title(visible(title)).id(report.code));
    let mut files: Vec<&Arc<lang::source::SourceText>> = Vec::new();
    // The position that the user can change comes first: the innermost frame in one of their files.
    let mine = UserFiles::of(report);
    if report.labels.first().is_some_and(|label| !mine.source(&label.source))
        && let Some((frame, (source, offset))) = report.trace.iter().find_map(|frame| {
            frame.place.as_ref().filter(|(source, _)| mine.source(source)).map(|place| (frame, place))
        })
        && let Some(text) = shown_text(source)
    {
        let span = char_range(&text, *offset as usize, *offset as usize + 1);
        let annotation = AnnotationKind::Primary.span(span).label(visible(&frame.text));
        group = group.element(Snippet::source(text).path(shown_name(source)).annotations([annotation]));
    }
    for label in &report.labels {
        if !files.iter().any(|file| Arc::ptr_eq(file, &label.source)) {
            files.push(&label.source);
        }
    }
    for (nth, file) in files.iter().enumerate() {
        let Some(text) = shown_text(file) else { continue };
        let here = report.labels.iter().filter(|label| Arc::ptr_eq(&label.source, file));
        let annotations = here.enumerate().map(|(index, label)| {
            let kind = if nth == 0 && index == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
            kind.span(char_range(&text, label.start as usize, label.end as usize)).label(visible(&label.text))
        });
        let annotations: Vec<_> = annotations.collect();
        group = group.element(Snippet::source(text).path(shown_name(file)).annotations(annotations));
    }
    if let Some(help) = &report.help {
        group = group.element(Level::HELP.message(visible(help)));
    }
    group
}

/// Returns the name of a source, safe to show.
fn shown_name(source: &lang::source::SourceText) -> String {
    visible(&lang::error::origin_name(&source.origin)).into_owned()
}

/// Returns the text of a source, safe to show. Offsets are those of the source, so each replaced
/// character keeps its length. `None` when the text is not UTF-8: carets below it would have the
/// wrong columns.
fn shown_text(source: &lang::source::SourceText) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(&source.text).ok()?;
    if !text.chars().any(is_active) {
        return Some(Cow::Borrowed(text));
    }
    let replacement = |c: char| match c.len_utf8() {
        _ if !is_active(c) => c,
        1 => '?',
        2 => '¿',
        _ => char::REPLACEMENT_CHARACTER,
    };
    Some(Cow::Owned(text.chars().map(replacement).collect()))
}

/// Widens a range to whole characters within the text.
fn char_range(text: &str, start: usize, end: usize) -> std::ops::Range<usize> {
    let floor = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = floor(start);
    start..floor(end).max(start)
}

impl From<lang::error::Report> for Failure {
    fn from(report: lang::error::Report) -> Failure {
        let exit = exit_of(report.code);
        let failure = Failure { exit, code: report.code, ..Failure::new(report.message.clone()) };
        Failure { help: report.help.clone(), evaluation: Some(Box::new(report)), ..failure }
    }
}

/// Finds the error of a build in a chain of causes.
fn build_error<'e>(error: &'e (dyn Error + Send + Sync + 'static)) -> Option<&'e BuildError> {
    let first: &'e (dyn Error + 'static) = error;
    std::iter::successors(Some(first), |&error| error.source()).find_map(|error| error.downcast_ref())
}

impl From<store::StoreError> for Failure {
    fn from(error: store::StoreError) -> Failure {
        let (code, help) = (error.code(), error.help().map(str::to_owned));
        Failure { exit: exit_of(code), code, help, ..Failure::new(error.to_string()) }
    }
}

impl From<workspace::Error> for Failure {
    fn from(error: workspace::Error) -> Failure {
        use workspace::Error;
        let help = error.help();
        let code = match error {
            Error::Evaluation(report) => return Failure::from(*report),
            Error::Store(error) => return error.into(),
            Error::Build(error) => return error.into(),
            Error::Installable(error) => return error.into(),
            Error::Threads(_) | Error::NoStoreRoot => "error",
            Error::Registry(_) => "registry",
            Error::LockOutdated { .. } => "lang::flake_lock",
            ref error if error.is_usage() => "usage",
            _ => "installable",
        };
        let exit = if error.is_usage() { Exit::Usage } else { Exit::Error };
        Failure { exit, code, help, ..Failure::new(error.to_string()) }
    }
}

impl From<InstallableError> for Failure {
    fn from(error: InstallableError) -> Failure {
        Failure { code: "installable", ..Failure::new(error.to_string()) }
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Failure {
        let (code, help) = (error.code(), error.help());
        let failure = Failure { exit: exit_of(code), code, help, ..Failure::new(error.to_string()) };
        match error {
            BuildError::Failed(report) => Failure { builds: Some(report), ..failure },
            _ => failure,
        }
    }
}

/// Returns the end that an error of this code leads to.
fn exit_of(code: &str) -> Exit {
    if code == "interrupted" { interrupt::exit() } else { Exit::of_code(code) }
}
