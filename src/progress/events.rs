//! The events of a build as JSON lines, for programs that follow it (`ev build --events`).
//!
//! `docs/schemas/event.json` describes a line. Each has the version, the kind, and the seconds
//! since the start; fields are only ever added. The last line is a summary, also of a build that is
//! interrupted.

use crate::report::{Failure, failure_json};
use builder::{BuildError, Event, EventSink, NodeId, Plan};
use model::{StoreModel, StorePath};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{Write, stdout};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Writes each event as one line.
pub struct EventStream {
    /// The file; standard output without one, `None` inside once it cannot be written.
    out: Mutex<Option<Box<dyn Write + Send>>>,
    plan: Mutex<Arc<Plan>>,
    started: Instant,
    logs: bool,
    ended: AtomicBool,
}

impl EventStream {
    /// Opens the stream to a file, or to standard output for `-`. Lines of logs are events when
    /// `logs` is set.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn open(to: &Path, logs: bool) -> Result<EventStream, Failure> {
        let out: Box<dyn Write + Send> = match to.as_os_str() == "-" {
            true => Box::new(stdout()),
            false => Box::new(File::create(to).map_err(|cause| Failure::io("cannot create", to, cause))?),
        };
        let (out, plan) = (Mutex::new(Some(out)), Mutex::default());
        Ok(EventStream { out, plan, started: Instant::now(), logs, ended: AtomicBool::new(false) })
    }

    /// Writes the summary, once. Nothing is written after it.
    pub fn finish(&self, result: Result<(), &Failure>) {
        if self.ended.load(Ordering::SeqCst) {
            return;
        }
        let mut fields = match result {
            Ok(()) => json!({ "success": true, "exitStatus": 0, "error": null }),
            Err(failure) => {
                let error = json!({ "code": failure.code, "message": failure.message() });
                json!({ "success": false, "exitStatus": failure.exit.status(), "error": error })
            }
        };
        self.write("summary", &mut fields);
        self.ended.store(true, Ordering::SeqCst);
    }

    fn write(&self, event: &str, fields: &mut Value) {
        if self.ended.load(Ordering::SeqCst) {
            return;
        }
        let mut line = Map::new();
        line.insert("version".to_owned(), 1.into());
        line.insert("event".to_owned(), event.into());
        let millis = self.started.elapsed().as_secs_f64() * 1e3;
        line.insert("timeSecs".to_owned(), (millis.round() / 1e3).into());
        line.append(fields.as_object_mut().expect("the fields of an event are an object"));
        let text = format!("{}\n", Value::Object(line));
        let mut out = os::lock(&self.out);
        // A reader that has seen enough, or a full disk, stops no build.
        if out.as_mut().is_some_and(|out| out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err()) {
            *out = None;
        }
    }

    fn node(&self, node: NodeId) -> Value {
        let plan = os::lock(&self.plan).clone();
        json!({ "drvPath": path(&plan.nodes[node].drv), "name": plan.nodes[node].name })
    }

    /// Writes an event about a node.
    fn about(&self, event: &str, node: NodeId, mut fields: Value) {
        let mut all = self.node(node);
        let object = all.as_object_mut().expect("a node is an object");
        object.append(fields.as_object_mut().expect("the fields of an event are an object"));
        self.write(event, &mut all);
    }

    fn planned(&self, plan: Arc<Plan>) {
        let nodes = plan.nodes.iter().map(|node| {
            let needs = node.needs.iter().map(|&need| path(&plan.nodes[need].drv)).collect::<Vec<_>>();
            json!({
                "drvPath": path(&node.drv), "name": node.name, "kind": node.kind, "needs": needs,
                "expectedSecs": node.expected.map(|time| time.as_secs_f64()),
            })
        });
        let mut fields = json!({ "nodes": nodes.collect::<Vec<_>>() });
        *os::lock(&self.plan) = Arc::clone(&plan);
        self.write("plan", &mut fields);
    }
}

impl EventSink for EventStream {
    fn event(&self, event: Event) {
        match event {
            Event::Planned { plan } => self.planned(plan),
            Event::Started { node } => self.about("start", node, json!({})),
            Event::Building { node } => self.about("build", node, json!({})),
            Event::Waiting { node, holder } => {
                self.about("wait", node, json!({ "pid": holder.pid, "command": holder.command }));
            }
            Event::Phase { node, phase } => self.about("phase", node, json!({ "phase": phase })),
            Event::LogLine { node, line } if self.logs => self.about("log", node, json!({ "line": line })),
            Event::LogLine { .. } => {}
            Event::Progress { node, done_bytes, total_bytes } => {
                self.about("progress", node, json!({ "doneBytes": done_bytes, "totalBytes": total_bytes }));
            }
            Event::Finished { node, origin, duration } => {
                self.about("end", node, json!({ "result": origin, "durationSecs": duration.as_secs_f64() }));
            }
            Event::Failed { node, failure } => match failure.error {
                BuildError::Cancelled => self.about("end", node, json!({ "result": "stopped" })),
                _ => self.about("end", node, json!({ "result": "failed", "failure": failure_json(&failure, None) })),
            },
            Event::Blocked { node, by } => {
                let by = self.node(by)["drvPath"].take();
                self.about("end", node, json!({ "result": "blocked", "by": by }));
            }
            Event::Warning { drv, text, .. } => {
                self.write("warning", &mut json!({ "drvPath": drv.as_ref().map(path), "text": text }));
            }
        }
    }
}

/// Sends events to two receivers.
pub struct Both(pub Arc<dyn EventSink>, pub Arc<dyn EventSink>);

impl EventSink for Both {
    fn event(&self, event: Event) {
        self.0.event(event.clone());
        self.1.event(event);
    }
}

fn path(path: &StorePath) -> String {
    StoreModel::Native.print(path)
}
