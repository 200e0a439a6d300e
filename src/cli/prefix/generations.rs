//! `prefix generations`: lists the generations of a prefix.

use super::{At, failed};
use crate::cli::Global;
use crate::print::{path_in_line, say};
use crate::report::Failure;
use clap::Args;
use deliver::prefix;

#[derive(Debug, Args)]
pub struct Generations {
    #[command(flatten)]
    pub at: At,
    /// Print the list as JSON
    #[arg(long)]
    pub json: bool,
}

impl Generations {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let generations = prefix::generations(&self.at.to(global), &self.at.prefix).map_err(failed)?;
        if self.json {
            let shown: Vec<_> = generations
                .iter()
                .map(|generation| {
                    serde_json::json!({
                        "generation": generation.number, "current": generation.current, "mode": generation.mode,
                        "source": generation.source, "installedSecs": generation.installed_secs,
                    })
                })
                .collect();
            say!("{}", serde_json::json!({ "version": 1, "prefix": self.at.prefix, "generations": shown }))?;
            return Ok(());
        }
        for generation in generations {
            let current = if generation.current { "\tcurrent" } else { "" };
            let date = date(generation.installed_secs);
            say!("{}\t{date}\t{}{current}", generation.number, path_in_line(&generation.source))?;
        }
        Ok(())
    }
}

/// Formats seconds since 1970 as a date and time of UTC; out of range, as they are.
fn date(secs: i64) -> String {
    match jiff::Timestamp::from_second(secs) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S +0000").to_string(),
        Err(_) => secs.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_are_those_of_utc() {
        assert_eq!(date(0), "1970-01-01 00:00:00 +0000");
        assert_eq!(date(1_700_000_000), "2023-11-14 22:13:20 +0000");
        assert_eq!(date(i64::MAX), i64::MAX.to_string());
    }
}
