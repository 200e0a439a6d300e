//! `nix-instantiate` of Nix: values and derivation paths on standard output byte for byte, errors
//! in Nix's form, exit status 1 for any of them. Programs written for Nix run it under that name,
//! which is a link to this one.
//!
//! Nothing is written to a store, with `--eval` or without: derivations are computed and their
//! paths printed.

mod arguments;
mod settings;

use super::settings::environment;
use super::sizes;
use crate::console::NixConsole;
use crate::exit::Exit;
use crate::interrupt::{self, interrupts};
use crate::{nix_text, print};
use arguments::{Action, Argument, Arguments, Output};
use clap::Args;
use lang::host::EvalOptions;
use lang::source::Origin;
use lang::{Error, Evaluator, Symbol, Value};
use model::StoreModel;
use settings::Settings;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use workspace::code_cache::CodeCache;
use workspace::environment::{current_system, free_memory_bytes};
use workspace::host::{ReadOnlyHost, Surroundings};
use workspace::registry::{LazyRegistries, RegistrySettings};
use workspace::sources::Sources;
use workspace::{Environment, walk};

/// The command for `--help` and completions; [`Arguments`] reads its words.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct NixInstantiate {
    /// Arguments of Nix's `nix-instantiate`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub words: Vec<std::ffi::OsString>,
}

const HELP: &str = "\
Usage: nix-instantiate [--parse | --eval | --find-file] [FLAG]... [FILE | - | -E EXPRESSION]...

Prints the store paths of derivations, or with --eval values, as Nix does. Writes to no store.

  --parse                 print the syntax tree
  --eval                  print the value
    --strict              evaluate it deeply
    --json --xml --raw    as JSON, as XML, a string without quotes
    --no-location         omit positions from XML
  --find-file             print the paths of names on the search path
  -E, --expr              FILEs are expressions
  -A, --attr PATH         take this attribute
  --arg NAME EXPRESSION, --argstr NAME TEXT
                          arguments of functions
  -I, --include [NAME=]PATH
                          add to the search path
  --show-trace            show every frame of an error
  --eval-jobs N           evaluate with N threads (0: one for each core); the result is that of one
  --option NAME VALUE     a setting of Nix, of which those about evaluation have an effect
";

/// An error of the language, or one from before the evaluation.
enum Problem {
    Evaluation(Error),
    Other(String),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        Problem::Evaluation(error)
    }
}

impl Problem {
    /// Returns the problem of a failed write to standard output.
    fn output(failure: crate::report::Failure) -> Problem {
        Problem::Other(failure.message().to_owned())
    }
}

impl NixInstantiate {
    /// Runs the command with these words after its name, reports what goes wrong, and returns the
    /// exit status.
    pub fn main(words: Vec<std::ffi::OsString>) -> u8 {
        let words = words.into_iter().map(|word| word.to_string_lossy().into_owned());
        let arguments = Settings::from_environment().and_then(|settings| Arguments::parse(words, settings));
        let arguments = match arguments {
            Ok(arguments) => arguments,
            Err(message) => {
                nix_text::say(&nix_text::plain_error(&message));
                return Exit::Error.status();
            }
        };
        if arguments.help {
            return written(HELP.as_bytes());
        }
        if arguments.version {
            return written(format!("nix-instantiate (eval) {}\n", lang::builtins::NIX_VERSION).as_bytes());
        }
        run(&arguments)
    }
}

/// The message of Nix.
const INTERRUPTED: &str = "interrupted by the user";

fn written(bytes: &[u8]) -> u8 {
    match print::bytes(bytes) {
        Ok(()) => Exit::Success.status(),
        Err(failure) => {
            nix_text::say(&nix_text::plain_error(failure.message()));
            Exit::Error.status()
        }
    }
}

fn run(arguments: &Arguments) -> u8 {
    let here = match std::env::current_dir() {
        Ok(here) => here,
        Err(cause) => {
            nix_text::say(&nix_text::plain_error(&format!("cannot determine the working directory: {cause}")));
            return Exit::Error.status();
        }
    };
    let settings = &arguments.settings;
    let environment = environment();
    // A variable, because the arguments are Nix's.
    let memory_max = match environment.text("EVAL_MAX_EVAL_MEMORY").map(sizes::parse) {
        None => free_memory_bytes(),
        Some(Ok(size)) => Some(usize::try_from(size).unwrap_or(usize::MAX)),
        Some(Err(why)) => {
            nix_text::say(&nix_text::plain_error(&format!("the value of EVAL_MAX_EVAL_MEMORY is {why}")));
            return Exit::Error.status();
        }
    };
    let defaults = EvalOptions::default();
    let options = EvalOptions {
        pure: settings.pure_eval,
        restrict: settings.restrict_eval,
        allowed_uris: settings.allowed_uris.clone(),
        store_model: StoreModel::Nix,
        system: Some(settings.system.clone().unwrap_or_else(current_system)),
        pipe_operators: settings.feature("pipe-operators"),
        exact_thunks: arguments.shows_thunks(),
        toml_timestamps: settings.feature("parse-toml-timestamps"),
        features: settings.features(),
        depth_max: settings.max_call_depth.unwrap_or(defaults.depth_max),
        trace_verbose: settings.trace_verbose,
        abort_on_warn: settings.abort_on_warn,
        lints: settings.lints,
        memory_max,
        ..defaults
    };
    let keep_derivations = arguments.action != Action::Evaluate || arguments.read_write;
    let cache = environment.cache();
    let mut surroundings = surroundings(environment, arguments.search_path(&here));
    surroundings.sources = surroundings.sources.map(|sources| sources.warning_of_changes(!settings.no_warn_dirty));
    let mut evaluator = Evaluator::new(Arc::new(ReadOnlyHost::new(surroundings, keep_derivations)), options);
    let jobs = match settings.eval_jobs {
        None => 1,
        Some(0) => std::thread::available_parallelism().map_or(1, usize::from),
        Some(jobs) => jobs,
    };
    if let Err(cause) = evaluator.set_jobs(jobs) {
        nix_text::say(&nix_text::plain_error(&format!("cannot start threads to evaluate with: {cause}")));
        return Exit::Error.status();
    }
    if let Some(cache) = cache.filter(|_| !settings.no_eval_cache) {
        evaluator.use_code_cache(Arc::new(CodeCache::new(cache)));
    }
    let mut front = Front { evaluator, arguments, here };
    interrupt::before_end(|| nix_text::say(&nix_text::plain_error(INTERRUPTED)));
    // Output before an error stays printed, as in Nix.
    let result = front.all();
    let interrupted = interrupt::claim_report();
    let code = match result {
        Ok(()) => Exit::Success.status(),
        Err(_) if interrupted => {
            nix_text::say(&nix_text::plain_error(INTERRUPTED));
            interrupt::exit().status()
        }
        Err(problem) => {
            let text = match problem {
                Problem::Evaluation(error) => {
                    nix_text::error(&front.evaluator.report(&error), arguments.settings.show_trace)
                }
                Problem::Other(message) => nix_text::plain_error(&message),
            };
            nix_text::say(&text);
            Exit::Error.status()
        }
    };
    front.evaluator.keep_code();
    // The process ends here, which frees everything faster than dropping it would.
    std::mem::forget(front);
    code
}

/// Returns the surroundings of an evaluation that writes to no store.
fn surroundings(environment: Environment, search_path: Vec<(String, String)>) -> Surroundings {
    let reporter = Arc::new(NixConsole);
    let sources = environment.cache().map(|cache| {
        let registries = Arc::new(LazyRegistries::new(RegistrySettings::default(), environment.clone()));
        let environment = environment.clone();
        Sources::new(cache, reporter.clone(), move || environment.storeless_fetch_config(interrupts()))
            .with_registries(registries)
    });
    Surroundings { environment, search_path, sources, reporter, interrupts: interrupts().clone() }
}

struct Front<'a> {
    evaluator: Evaluator,
    arguments: &'a Arguments,
    here: PathBuf,
}

/// Source of an expression.
enum Text {
    File(PathBuf),
    Words(Vec<u8>, Origin),
}

impl Front<'_> {
    fn all(&mut self) -> Result<(), Problem> {
        if self.arguments.action == Action::FindFile {
            for name in &self.arguments.files {
                let found = self.evaluator.look_up(name)?;
                write_out(format!("{}\n", found.display()).as_bytes())?;
            }
            return Ok(());
        }
        let given = self.given()?;
        if self.arguments.stdin {
            let text = standard_input()?;
            self.expression(Text::Words(text, Origin::StandardInput), &given)?;
        }
        for file in self.arguments.expression_files() {
            let text = if self.arguments.expressions {
                Text::Words(file.into_bytes(), Origin::CommandLine)
            } else if let Some(name) = file.strip_prefix('<').and_then(|name| name.strip_suffix('>')) {
                Text::File(self.evaluator.look_up(name)?)
            } else {
                Text::File(self.here.join(file))
            };
            self.expression(text, &given)?;
        }
        Ok(())
    }

    /// Returns the values of `--arg` and its like.
    fn given(&mut self) -> Result<Vec<(Symbol, Value)>, Problem> {
        let mut given = Vec::new();
        for (name, argument) in &self.arguments.arguments {
            let value = match argument {
                Argument::Expression(text) => {
                    self.evaluator.eval_text(text.as_bytes(), Origin::CommandLine, &self.here)?
                }
                Argument::Text(text) => Value::string(text.as_bytes()),
                Argument::File(path) => {
                    let bytes = std::fs::read(self.here.join(path))
                        .map_err(|cause| Problem::Other(format!("cannot read '{path}': {cause}")))?;
                    Value::string(&bytes)
                }
                Argument::StandardInput => Value::string(&standard_input()?),
            };
            given.push((Symbol::new(name.as_bytes()), value));
        }
        Ok(given)
    }

    fn expression(&mut self, text: Text, given: &[(Symbol, Value)]) -> Result<(), Problem> {
        let (evaluator, here) = (&mut self.evaluator, self.here.as_path());
        if self.arguments.action == Action::Parse {
            let mut tree = match text {
                Text::File(path) => evaluator.parse_file(&path)?,
                Text::Words(text, origin) => evaluator.parse_text(&text, origin, here)?,
            };
            tree.push(b'\n');
            return write_out(&tree);
        }
        let root = match text {
            Text::File(path) => evaluator.eval_file(&path)?,
            Text::Words(text, origin) => evaluator.eval_text(&text, origin, here)?,
        };
        let whole = [String::new()];
        let attrs = if self.arguments.attrs.is_empty() { &whole[..] } else { &self.arguments.attrs };
        for path in attrs {
            let value = evaluator.select_path_with(root, path, given)?;
            match self.arguments.action {
                Action::Evaluate => {
                    // With no arguments at all a function is printed as one.
                    let value = if given.is_empty() { value } else { evaluator.auto_call(value, given)? };
                    let text = shown(evaluator, value, self.arguments)?;
                    let raw = self.arguments.output == Output::Raw;
                    if raw { print::raw(&text) } else { print::bytes(&text) }.map_err(Problem::output)?;
                }
                _ => instantiate(evaluator, value, given)?,
            }
        }
        Ok(())
    }
}

fn shown(evaluator: &mut Evaluator, value: Value, arguments: &Arguments) -> Result<Vec<u8>, Problem> {
    let strict = arguments.strict;
    Ok(match arguments.output {
        Output::Raw => evaluator.coerce_str(value)?.bytes().to_vec(),
        Output::Xml => evaluator.xml(value, !arguments.no_location, strict)?,
        Output::Json => {
            let mut text = evaluator.json(value)?;
            text.push(b'\n');
            text
        }
        Output::Plain => {
            if strict {
                evaluator.force_deep(value)?;
            }
            let mut text = evaluator.print(value)?;
            text.push(b'\n');
            text
        }
    })
}

fn instantiate(evaluator: &mut Evaluator, value: Value, given: &[(Symbol, Value)]) -> Result<(), Problem> {
    let Some(found) = walk::derivations(evaluator, value, given)? else {
        let message = "expression does not evaluate to a derivation (or a set or list of those)";
        return Err(Problem::Other(message.to_owned()));
    };
    for derivation in found {
        let path = StoreModel::Nix.parse(&derivation.drv_path).map_err(|error| Problem::Other(error.to_string()))?;
        if !path.is_derivation() {
            return Err(Problem::Other(format!("store path '{path}' is not a valid derivation path")));
        }
        let output = &derivation.output_name;
        let suffix = if output == "out" { String::new() } else { format!("!{output}") };
        write_out(format!("{}{suffix}\n", derivation.drv_path).as_bytes())?;
    }
    Ok(())
}

fn standard_input() -> Result<Vec<u8>, Problem> {
    let mut text = Vec::new();
    match std::io::stdin().read_to_end(&mut text) {
        Ok(_) => Ok(text),
        Err(cause) => Err(Problem::Other(format!("cannot read standard input: {cause}"))),
    }
}

fn write_out(bytes: &[u8]) -> Result<(), Problem> {
    print::bytes(bytes).map_err(Problem::output)
}

/// Returns whether a program was called by the name of this command.
pub fn is_name(called: &std::ffi::OsStr) -> bool {
    Path::new(called).file_name().is_some_and(|name| name == "nix-instantiate")
}
