//! Prints the syntax tree of each file, or of standard input, as `nix-instantiate --parse` does.
//!
//! Arguments: `--style 2.8`, `--time` (parses only, and says how long it took), files.
#![allow(clippy::disallowed_methods, reason = "an example is a program: it reads files and its environment")]

use lang::source::{Origin, SourceText};
use lang::syntax::print::{PrintOptions, Style, print};
use lang::syntax::{ParseOptions, parse};
use std::io::{Read, Write};
use std::time::Instant;

fn main() -> std::io::Result<()> {
    let mut style = Style::Current;
    let mut time = false;
    let mut files = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--style" if arguments.next().as_deref() == Some("2.8") => style = Style::Nix2_8,
            "--time" => time = true,
            _ => files.push(argument),
        }
    }
    if files.is_empty() {
        files.push("-".into());
    }
    let mut failed = false;
    for file in files {
        let mut text = Vec::new();
        match file.as_str() {
            "-" => _ = std::io::stdin().read_to_end(&mut text)?,
            _ => text = std::fs::read(&file)?,
        }
        let arena = bumpalo::Bump::new();
        let options = ParseOptions {
            pipe_operators: style == Style::Current,
            separate_string_pieces: !time,
            ..ParseOptions::default()
        };
        let start = Instant::now();
        let parsed = parse(&arena, &text, options);
        if time {
            eprintln!("{file}: {:?}, {} KiB of tree", start.elapsed(), arena.allocated_bytes() / 1024);
            continue;
        }
        let source = SourceText::new(Origin::StandardInput, text.as_slice().into());
        for error in &parsed.errors {
            let (line, column) = source.position(error.span.start);
            eprintln!("error: {error}\n  at {file}:{line}:{column} [{}]", error.code);
            for (span, label) in &error.labels {
                let (line, column) = source.position(span.start);
                eprintln!("  {line}:{column}: {label}");
            }
            if let Some(help) = &error.help {
                eprintln!("  help: {help}");
            }
        }
        failed |= !parsed.errors.is_empty();
        if parsed.errors.is_empty() {
            let base = std::env::current_dir()?;
            let home = std::env::var("HOME").unwrap_or_default();
            let base = base.as_os_str().as_encoded_bytes();
            let mut out = print(parsed.expr, PrintOptions { base, home: home.as_bytes(), style });
            out.push(b'\n');
            std::io::stdout().write_all(&out)?;
        }
    }
    if failed {
        std::process::exit(1);
    }
    Ok(())
}
