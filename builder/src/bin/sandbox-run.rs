//! Runs one sandboxed build from a request, for tests, measurements and finding faults without the
//! rest of `eval`.
//!
//! `sandbox-run < request.json` passes the log to standard error and prints the outcome;
//! `sandbox-run ROUNDS < …` repeats it and prints the time each takes, in milliseconds. Also serves
//! as the monitor of the crate's own tests.

use sandbox::request::Request;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

fn main() -> ExitCode {
    sandbox::child_entry();
    match execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sandbox-run: {error}");
            ExitCode::FAILURE
        }
    }
}

fn execute() -> Result<(), Box<dyn std::error::Error>> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(1), |rounds| rounds.parse())?;
    let mut json = String::new();
    std::io::stdin().read_to_string(&mut json)?;
    let request: Request = serde_json::from_str(&json)?;
    let sandbox = sandbox::Sandbox::default();
    let mut walls = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let mut pass_on = |bytes: &[u8]| {
            // The build goes on when no process reads its log.
            let _ = std::io::stderr().write_all(bytes);
        };
        let outcome = sandbox.run(&request, &mut pass_on, &AtomicBool::new(false))?;
        walls.push(outcome.usage.wall.as_secs_f64() * 1e3);
        if round + 1 == rounds {
            println!("{outcome:?}");
        }
    }
    if rounds > 1 {
        walls.sort_by(f64::total_cmp);
        let at = |share: f64| walls[((walls.len() - 1) as f64 * share) as usize];
        println!("wall, ms: p10 {:.2}, median {:.2}, p90 {:.2}", at(0.1), at(0.5), at(0.9));
    }
    Ok(())
}
