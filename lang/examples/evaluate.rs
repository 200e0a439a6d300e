//! Evaluates one file over the plain file system and prints it, for measuring and for comparing
//! with other evaluators: `evaluate FILE [ATTRIBUTE-PATH]`. Nothing is written; `STORE=native`
//! selects our own store paths instead of Nix's.
#![allow(clippy::disallowed_methods, reason = "this is an embedder, who does the reading for the language")]

use lang::{EvalOptions, Evaluator};
use model::StoreModel;
use std::sync::Arc;
use test_support::files::Files;

fn main() -> std::process::ExitCode {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().unwrap_or_else(|| "default.nix".to_owned());
    let path = std::env::current_dir().unwrap_or_default().join(file);
    let model = if std::env::var_os("STORE").is_some_and(|model| model == "native") {
        StoreModel::Native
    } else {
        StoreModel::Nix
    };
    let host = Arc::new(Files::new(model));
    let options = EvalOptions {
        pure: false,
        store_model: model,
        system: Some("x86_64-linux".to_owned()),
        write: std::env::var_os("KEEP_DERIVATIONS").is_some(),
        ..EvalOptions::default()
    };
    let mut evaluator = Evaluator::new(host.clone(), options);
    let result = evaluator.eval_file(&path).and_then(|value| {
        let value = match arguments.next() {
            Some(attribute) => evaluator.select_path(value, &attribute)?,
            None => value,
        };
        evaluator.force_deep(value)?;
        Ok(value)
    });
    for message in host.take_messages() {
        eprintln!("{message}");
    }
    match result {
        Ok(value) => {
            println!("{}", String::from_utf8_lossy(&evaluator.print(value).expect("it fits into memory")));
            std::process::ExitCode::SUCCESS
        }
        Err(error) => {
            let report = evaluator.report(&error);
            eprintln!("error: {} [{}]", report.message, report.code);
            for label in report.labels {
                let (line, column) = label.source.position(label.start);
                eprintln!("  at {}:{line}:{column} {}", lang::error::origin_name(&label.source.origin), label.text);
            }
            for frame in report.trace.iter().take(30) {
                let place = frame.place.as_ref().map(|(source, offset)| {
                    let (line, column) = source.position(*offset);
                    format!("{}:{line}:{column}", lang::error::origin_name(&source.origin))
                });
                eprintln!("  … {} {}", frame.text, place.unwrap_or_default());
            }
            if let Some(help) = report.help {
                eprintln!("  help: {help}");
            }
            std::process::ExitCode::FAILURE
        }
    }
}
