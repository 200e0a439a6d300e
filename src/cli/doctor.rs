//! `doctor`: compares the features that builds need with those of this machine, and prints
//! remedies.

use super::Global;
use crate::print::say;
use crate::report::Failure;
use clap::Args;

/// Version of the JSON that `--json` prints.
const JSON_VERSION: u32 = 1;

#[derive(Debug, Args)]
pub struct Doctor {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl Doctor {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let features = sandbox::probe();
        let store = global.store_settings()?.root;
        let missing: Vec<&str> =
            features.iter().filter(|feature| feature.required && !feature.ok).map(|feature| feature.name).collect();
        if self.json {
            let features: Vec<serde_json::Value> = features
                .iter()
                .map(|feature| {
                    serde_json::json!({
                        "name": feature.name,
                        "ok": feature.ok,
                        "required": feature.required,
                        "level": feature.level,
                        "remedy": feature.remedy,
                    })
                })
                .collect();
            let ok = missing.is_empty();
            let report = serde_json::json!({ "version": JSON_VERSION, "ok": ok, "store": store, "features": features });
            say!("{report:#}")?;
        } else {
            let width = features.iter().map(|feature| feature.name.len()).max().unwrap_or(0);
            for feature in &features {
                let mark = match (feature.ok, feature.required) {
                    (true, _) => "ok     ",
                    (false, true) => "MISSING",
                    (false, false) => "without",
                };
                say!("{mark}  {:width$}  {}", feature.name, feature.level)?;
                if let Some(remedy) = &feature.remedy {
                    say!("         {:width$}  to do: {remedy}", "")?;
                }
            }
            say!("ok       {:width$}  {}", "store", store.display())?;
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!("builds cannot run here: {}", missing.join(", ")))
            .help("each line above names a remedy"))
    }
}
