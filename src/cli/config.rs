//! Settings: options that also a variable and a line of the configuration file can give.
//!
//! The definition of the command line is the only table of settings: each option with a variable is
//! one. Its long name is its name in the file, and its variable that name after `EVAL_`. A value
//! of the file becomes the default of its option, so it is checked as one, and comes after the
//! variable, as clap does it. The book's page of settings is written from the same definition.

use super::Global;
use crate::print::{bytes, remark};
use crate::report::Failure;
use clap::builder::Resettable;
use clap::{Arg, ArgAction, Args, Command, Subcommand};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use toml::de::{DeTable, DeValue};

/// Version of the JSON that `config show --json` prints.
const JSON_VERSION: u32 = 1;

/// The configuration of the machine.
const SYSTEM_FILE: &str = "/etc/eval/config.toml";

#[derive(Debug, Subcommand)]
pub enum Config {
    /// Print each setting with its value and where that is from
    Show(Show),
}

#[derive(Debug, Args)]
pub struct Show {
    /// Print this setting only
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// An option that is a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    name: String,
    aliases: Vec<String>,
    variable: String,
    default: Option<String>,
    meaning: String,
    is_flag: bool,
    is_list: bool,
}

/// A value that the configuration gives.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Given {
    values: Vec<String>,
    origin: Origin,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    /// `--option NAME VALUE`, which precedes variables.
    Option,
    File {
        path: PathBuf,
        line: usize,
    },
}

/// The configuration of this process: settings by name, and the files that were read.
#[derive(Debug, Default)]
struct Configuration {
    given: BTreeMap<String, Given>,
    files: Vec<PathBuf>,
}

static CONFIGURATION: OnceLock<Configuration> = OnceLock::new();

/// Reads the configuration, takes each `--option NAME VALUE` out of `arguments`, and returns the
/// command line with the defaults that they give.
///
/// # Errors
/// When a file cannot be read or parsed, or has an unknown setting or a wrong value.
pub fn configured(command: Command, arguments: &mut Vec<OsString>) -> Result<Command, Failure> {
    let mut configuration = Configuration::default();
    let options = take_options(arguments);
    let files = files();
    if options.is_empty() && files.is_empty() {
        return Ok(command);
    }
    let settings = settings(&command);
    for path in files {
        let Some(text) = read(&path)? else { continue };
        read_file(&path, &text, &command, &settings, &mut configuration.given)?;
        configuration.files.push(path);
    }
    for (name, value) in options {
        let Some((setting, inverted)) = find(&settings, &name) else {
            remark!("warning: there is no setting `{name}`{}", suggestion(&settings, &name));
            continue;
        };
        let values = match setting.is_list {
            true => value.split_whitespace().map(str::to_owned).collect(),
            false => vec![inversion(value, inverted)],
        };
        check(&command, setting, &values).map_err(|reason| Failure::usage(format!("`--option {name}`: {reason}")))?;
        configuration.given.insert(setting.name.clone(), Given { values, origin: Origin::Option });
    }
    let command = match configuration.given.is_empty() {
        true => command,
        false => with_defaults(command, &configuration.given),
    };
    CONFIGURATION.set(configuration).expect("the configuration is read once");
    Ok(command)
}

/// Returns the command line with the defaults that [`configured`] has read.
pub fn configured_again(command: Command) -> Command {
    match CONFIGURATION.get() {
        Some(configuration) if !configuration.given.is_empty() => with_defaults(command, &configuration.given),
        _ => command,
    }
}

/// Returns the text of a file, or `None` when there is none.
fn read(path: &Path) -> Result<Option<String>, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(cause) if matches!(cause.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(cause) => Err(Failure::io("cannot read", path, cause)),
    }
}

/// Removes each `--option NAME VALUE` before `--`, and returns the pairs.
fn take_options(arguments: &mut Vec<OsString>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut at = 1;
    while at < arguments.len() && arguments[at] != "--" {
        if arguments[at] == "--option"
            && let (Some(name), Some(value)) = (arguments.get(at + 1), arguments.get(at + 2))
        {
            found.push((name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
            arguments.drain(at..at + 3);
        } else {
            at += 1;
        }
    }
    found
}

/// Returns the files of the configuration, the more general first: `EVAL_CONFIG` alone, or that of
/// the machine and that of the user.
fn files() -> Vec<PathBuf> {
    let environment = super::settings::environment();
    match environment.variable("EVAL_CONFIG") {
        Some(path) if path.is_empty() => Vec::new(),
        Some(path) => vec![path.into()],
        None => {
            let user = environment.user_directory("XDG_CONFIG_HOME", ".config");
            let user = user.map(|directory| directory.join("config.toml"));
            [PathBuf::from(SYSTEM_FILE)].into_iter().chain(user).collect()
        }
    }
}

/// Reads one file into `given`.
fn read_file(
    path: &Path,
    text: &str,
    command: &Command,
    settings: &[Setting],
    given: &mut BTreeMap<String, Given>,
) -> Result<(), Failure> {
    let line_of = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
    let failure =
        |offset: usize, message: String| Failure::usage(format!("{}:{}: {message}", path.display(), line_of(offset)));
    let table = DeTable::parse(text)
        .map_err(|error| failure(error.span().map_or(0, |span| span.start), error.message().to_owned()))?;
    for (key, value) in table.get_ref() {
        let name: &str = key.get_ref();
        let Some((setting, inverted)) = find(settings, name) else {
            let message = format!("there is no setting `{name}`");
            let failure = failure(key.span().start, message);
            return Err(match closest(settings, name) {
                Some(close) => failure.help(format!("did you mean `{close}`?")),
                None => failure.help("`ev config show` lists all settings"),
            });
        };
        let at = value.span().start;
        let values = texts(value.get_ref(), setting).map_err(|reason| failure(at, format!("`{name}` {reason}")))?;
        let values: Vec<String> = values.into_iter().map(|value| inversion(value, inverted)).collect();
        check(command, setting, &values).map_err(|reason| failure(at, format!("`{name}`: {reason}")))?;
        let origin = Origin::File { path: path.to_owned(), line: line_of(key.span().start) };
        given.insert(setting.name.clone(), Given { values, origin });
    }
    Ok(())
}

/// Returns a value of the file as the texts that its option would have.
fn texts(value: &DeValue<'_>, setting: &Setting) -> Result<Vec<String>, String> {
    let one = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().replace('_', "")),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    };
    match value {
        DeValue::Array(items) if setting.is_list => {
            let texts = items.iter().map(|item| one(item.get_ref())).collect::<Option<Vec<_>>>();
            texts.ok_or_else(|| "is a list of texts".to_owned())
        }
        DeValue::Boolean(_) if !setting.is_flag => Err("is no flag: give a text or a number".to_owned()),
        value if setting.is_flag && !value.is_bool() => Err("is a flag: true or false".to_owned()),
        value => one(value).map(|text| vec![text]).ok_or_else(|| "is a text, a number, or true or false".to_owned()),
    }
}

/// Checks values as their option would.
fn check(command: &Command, setting: &Setting, values: &[String]) -> Result<(), String> {
    let Some(arg) = arg_of(command, &setting.name) else { return Ok(()) };
    // Conflicts and groups are those of other options.
    let mut scratch = Command::new("ev").no_binary_name(true).disable_help_flag(true);
    let mut plain = Arg::new("value").long("value").action(ArgAction::Append);
    plain = plain.value_parser(arg.get_value_parser().clone());
    scratch = scratch.arg(plain);
    let words = values.iter().map(|value| format!("--value={value}"));
    match scratch.try_get_matches_from_mut(words) {
        Ok(_) => Ok(()),
        Err(error) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            let more = text.lines().find(|line| line.contains("[possible values"));
            let text = first.replace(" for '--value <value>'", "");
            Err(more.map_or(text.clone(), |more| format!("{text} {}", more.trim())))
        }
    }
}

/// Returns the setting of a name, and true when the name is the opposite of the setting's, as
/// `eval-cache` is of `no-eval-cache`.
fn find<'a>(settings: &'a [Setting], name: &str) -> Option<(&'a Setting, bool)> {
    let has = |name: &str| {
        settings.iter().find(|setting| setting.name == name || setting.aliases.iter().any(|alias| alias == name))
    };
    if let Some(setting) = has(name) {
        return Some((setting, false));
    }
    let opposite = match name.strip_prefix("no-") {
        Some(name) => name.to_owned(),
        None => format!("no-{name}"),
    };
    has(&opposite).filter(|setting| setting.is_flag).map(|setting| (setting, true))
}

fn inversion(value: String, inverted: bool) -> String {
    match (inverted, value.as_str()) {
        (true, "true") => "false".to_owned(),
        (true, "false") => "true".to_owned(),
        _ => value,
    }
}

fn closest<'a>(settings: &'a [Setting], name: &str) -> Option<&'a str> {
    let names = settings.iter().flat_map(|setting| setting.aliases.iter().chain([&setting.name]));
    lang::error::suggest(name, names.map(String::as_str))
}

fn suggestion(settings: &[Setting], name: &str) -> String {
    closest(settings, name).map(|close| format!("; did you mean `{close}`?")).unwrap_or_default()
}

/// Returns the command with the given values as defaults of the options of these names.
fn with_defaults(command: Command, given: &BTreeMap<String, Given>) -> Command {
    let command = command.mut_args(|arg| {
        let Some(given) = arg.get_long().and_then(|name| given.get(name)).filter(|_| arg.get_env().is_some()) else {
            return arg;
        };
        // Both are needed until the process ends.
        let values: Vec<&'static str> = given.values.iter().map(|value| &*value.clone().leak()).collect();
        let arg = arg.default_values(values);
        match given.origin {
            Origin::Option => arg.env(Resettable::Reset),
            Origin::File { .. } => arg,
        }
    });
    command.mut_subcommands(|each| with_defaults(each, given))
}

/// Returns the settings in the order of their names.
fn settings(command: &Command) -> Vec<Setting> {
    let mut found = BTreeMap::new();
    collect(command, &mut found);
    found.into_values().collect()
}

fn collect(command: &Command, found: &mut BTreeMap<String, Setting>) {
    for arg in command.get_arguments() {
        let (Some(name), Some(variable)) = (arg.get_long(), arg.get_env()) else { continue };
        let texts = |values: &[clap::builder::OsStr]| {
            let texts: Vec<_> = values.iter().map(|value| value.to_string_lossy().into_owned()).collect();
            (!texts.is_empty()).then(|| texts.join(" "))
        };
        let aliases = arg.get_all_aliases().unwrap_or_default();
        let meaning = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let is_flag = matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::SetFalse);
        // The help says a default that depends on the machine.
        let (meaning, said) = match meaning.split_once(" [default: ") {
            Some((meaning, said)) => (meaning.to_owned(), Some(said.trim_end_matches(']').to_owned())),
            None => (meaning, None),
        };
        let default = texts(arg.get_default_values()).or(is_flag.then(|| "false".to_owned())).or(said);
        let setting = Setting {
            name: name.to_owned(),
            aliases: aliases.into_iter().map(str::to_owned).collect(),
            variable: variable.to_string_lossy().into_owned(),
            default,
            meaning,
            is_flag,
            is_list: matches!(arg.get_action(), ArgAction::Append),
        };
        found.entry(name.to_owned()).or_insert(setting);
    }
    command.get_subcommands().for_each(|each| collect(each, found));
}

/// Returns the option of a name in any command.
fn arg_of<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    let own = command.get_arguments().find(|arg| arg.get_long() == Some(name) && arg.get_env().is_some());
    own.or_else(|| command.get_subcommands().find_map(|each| arg_of(each, name)))
}

impl Config {
    pub fn run(self, _global: &Global) -> Result<(), Failure> {
        let Config::Show(show) = self;
        show.run()
    }

    /// Returns whether a failure is also printed to standard output, where a program expects JSON.
    pub fn wants_json(&self) -> bool {
        matches!(self, Config::Show(show) if show.json)
    }
}

impl Show {
    fn run(self) -> Result<(), Failure> {
        let mut settings = settings(&super::help::command());
        if let Some(name) = &self.name {
            let Some((wanted, _)) = find(&settings, name) else {
                return Err(Failure::usage(format!("there is no setting `{name}`{}", suggestion(&settings, name))));
            };
            settings = vec![wanted.clone()];
        }
        let configuration = CONFIGURATION.get();
        let text = match self.json {
            true => format!("{:#}\n", to_json(&settings, configuration)),
            false => to_text(&settings, configuration),
        };
        bytes(text.as_bytes())
    }
}

/// Returns the value of a setting in this process, and where it is from, in a word and in full.
fn current(setting: &Setting, configuration: Option<&Configuration>) -> (Option<Vec<String>>, &'static str, String) {
    let given = configuration.and_then(|configuration| configuration.given.get(&setting.name));
    if let Some(Given { values, origin: Origin::Option }) = given {
        return (Some(values.clone()), "option", "--option".to_owned());
    }
    if let Some(value) = std::env::var_os(&setting.variable) {
        let value = value.to_string_lossy().into_owned();
        let values = match setting.is_list {
            true => value.split_whitespace().map(str::to_owned).collect(),
            false => vec![value],
        };
        return (Some(values), "variable", setting.variable.clone());
    }
    match given {
        Some(Given { values, origin: Origin::File { path, line } }) => {
            (Some(values.clone()), "file", format!("{}:{line}", path.display()))
        }
        _ => (None, "default", "default".to_owned()),
    }
}

/// Returns the settings as lines that a configuration file may have.
fn to_text(settings: &[Setting], configuration: Option<&Configuration>) -> String {
    let mut text = String::new();
    for setting in settings {
        let (values, _, origin) = current(setting, configuration);
        let _ = match values {
            Some(values) => writeln!(text, "{} = {}  # {origin}", setting.name, toml_text(setting, &values)),
            None => match &setting.default {
                Some(default) => writeln!(text, "# {}: {default}", setting.name),
                None => writeln!(text, "# {}", setting.name),
            },
        };
    }
    text
}

fn toml_text(setting: &Setting, values: &[String]) -> String {
    let one = |value: &String| match value.parse::<i64>().is_ok() || setting.is_flag {
        true => value.clone(),
        false => toml::Value::from(value.as_str()).to_string(),
    };
    match setting.is_list {
        true => format!("[{}]", values.iter().map(one).collect::<Vec<_>>().join(", ")),
        false => values.iter().map(one).collect(),
    }
}

fn to_json(settings: &[Setting], configuration: Option<&Configuration>) -> serde_json::Value {
    let shown: serde_json::Map<String, serde_json::Value> = settings
        .iter()
        .map(|setting| {
            let (values, source, place) = current(setting, configuration);
            let value = match values {
                Some(values) if setting.is_list => serde_json::json!(values),
                Some(values) => serde_json::json!(values.concat()),
                None => serde_json::Value::Null,
            };
            let object = serde_json::json!({
                "value": value, "source": source, "place": place, "default": setting.default,
                "flag": format!("--{}", setting.name), "variable": setting.variable, "meaning": setting.meaning,
            });
            (setting.name.clone(), object)
        })
        .collect();
    let files: &[PathBuf] = configuration.map(|configuration| &*configuration.files).unwrap_or_default();
    serde_json::json!({ "version": JSON_VERSION, "files": files, "settings": shown })
}

#[cfg(test)]
mod tests {
    use super::{Given, Origin, read_file, settings, take_options};
    use crate::cli::help;
    use std::collections::BTreeMap;
    use std::ffi::OsString;
    use std::fmt::Write;
    use std::path::Path;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/src/settings.md");
    const TABLE: &str = "| name | variable | default | |\n|---|---|---|---|\n";

    /// Returns the table of the book's page.
    fn table() -> String {
        let mut text = TABLE.to_owned();
        for setting in settings(&help::command()) {
            let default = setting.default.unwrap_or_default();
            let other = match setting.aliases.as_slice() {
                [] => String::new(),
                aliases => format!(" (also `{}`)", aliases.join("`, `")),
            };
            let meaning = setting.meaning.replace('|', "\\|");
            let _ = writeln!(text, "| `{}`{other} | `{}` | {default} | {meaning} |", setting.name, setting.variable);
        }
        text
    }

    #[test]
    fn the_book_lists_all_settings() {
        let page = std::fs::read_to_string(PAGE).expect("the page exists");
        let (head, rest) = page.split_once(TABLE).expect("the page has the table");
        let tail = rest.find("\n\n").map_or("", |at| &rest[at + 1..]);
        let wanted = format!("{head}{}{tail}", table());
        if std::env::var_os("UPDATE_EXP").is_some() {
            std::fs::write(PAGE, &wanted).expect("the page can be written");
        }
        assert!(page == wanted || std::env::var_os("UPDATE_EXP").is_some(), "UPDATE_EXP=1 writes {PAGE}:\n{wanted}");
    }

    #[test]
    fn variables_have_the_names_of_their_options() {
        for setting in settings(&help::command()) {
            let expected = format!("EVAL_{}", setting.name.to_uppercase().replace('-', "_"));
            assert_eq!(setting.variable, expected);
        }
    }

    fn read(text: &str) -> Result<BTreeMap<String, Given>, String> {
        let command = help::command();
        let mut given = BTreeMap::new();
        read_file(Path::new("c.toml"), text, &command, &settings(&command), &mut given)
            .map(|()| given)
            .map_err(|failure| failure.to_json()["error"].to_string())
    }

    #[test]
    fn values_are_those_of_options() {
        let given =
            read("jobs = 3\n\nmirrors = [\"a=http://x\", \"b=http://y\"]\nkeep-failed = true\n").expect("valid");
        let place = |line| Origin::File { path: "c.toml".into(), line };
        assert_eq!(given["jobs"], Given { values: vec!["3".into()], origin: place(1) });
        assert_eq!(given["mirrors"].values, ["a=http://x", "b=http://y"]);
        assert_eq!(given["keep-failed"], Given { values: vec!["true".into()], origin: place(4) });
        assert_eq!(read("max-jobs = 2\neval-cache = false\n").expect("Nix's names")["no-eval-cache"].values, ["true"]);
        for (text, message) in [
            ("\njbos = 3", "c.toml:2: there is no setting `jbos`"),
            ("jobs = \"many\"", "c.toml:1: `jobs`: invalid value 'many'"),
            ("jobs = true", "c.toml:1: `jobs` is no flag"),
            ("keep-failed = 1", "c.toml:1: `keep-failed` is a flag"),
            ("durability = \"fast\"", "[possible values: full, relaxed]"),
            ("jobs = ", "c.toml:1: "),
            ("[jobs]\na = 1", "c.toml:1: `jobs` is a text"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(message), "{text}: {error}");
        }
        assert!(read("\njbos = 3").expect_err("unknown").contains("did you mean `jobs`?"));
    }

    #[test]
    fn options_are_taken_out_of_the_arguments() {
        let mut words: Vec<OsString> = ["ev", "build", "--option", "jobs", "2", "x", "--", "--option", "a", "b"]
            .map(OsString::from)
            .into_iter()
            .collect();
        assert_eq!(take_options(&mut words), [("jobs".to_owned(), "2".to_owned())]);
        assert_eq!(words.len(), 7);
    }
}
