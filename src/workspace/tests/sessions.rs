//! Several sessions in one process do not see each other's roots, directories, environments and
//! messages.

use lang::host::Severity;
use std::path::Path;
use std::sync::{Arc, Mutex};
use workspace::registry::RegistrySettings;
use workspace::settings::LockSettings;
use workspace::{
    Access, Environment, EvalSettings, Hooks, Interrupts, Reporter, Session, Settings, StoreSettings, Wanted,
};

#[derive(Default)]
struct Messages(Mutex<Vec<String>>);

impl Reporter for Messages {
    fn message(&self, _severity: Severity, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }

    fn warning(&self, _text: &str) {}

    fn fetching(&self, _url: &str, _bytes: u64) {}
}

/// One user of a service.
struct User {
    home: tempfile::TempDir,
    messages: Arc<Messages>,
    session: Session,
    interrupts: Interrupts,
}

const PACKAGE: &str = r#"
  builtins.trace "hello ${builtins.getEnv "WHO"}" (derivation {
    name = "for-${builtins.getEnv "WHO"}";
    system = "x86_64-linux";
    builder = "/bin/sh";
    args = [ ./script ];
  })
"#;

fn user(name: &str, evaluation: EvalSettings) -> User {
    let home = tempfile::tempdir().unwrap();
    let project = home.path().join("project");
    std::fs::create_dir(&project).unwrap();
    std::fs::write(project.join("default.nix"), PACKAGE).unwrap();
    std::fs::write(project.join("script"), format!("echo {name}")).unwrap();
    let variables = [("HOME", home.path().to_str().unwrap()), ("WHO", name)];
    let settings = Settings {
        directory: project,
        environment: Environment::new(variables.map(|(name, value)| (name.into(), value.into()))),
        program: None,
        store: StoreSettings { root: home.path().join("store-root"), durability: store::Durability::Relaxed },
        evaluation: EvalSettings { source: workspace::ExpressionSource::File("default.nix".into()), ..evaluation },
        locks: LockSettings::default(),
        registry: RegistrySettings::default(),
        offline: false,
        building: builder::Options::default(),
    };
    let messages = Arc::new(Messages::default());
    let hooks = Hooks { reporter: messages.clone(), ..Hooks::silent() };
    let interrupts = hooks.interrupts.clone();
    User { home, messages, interrupts, session: Session::open(settings, &hooks).unwrap() }
}

fn instantiate(user: &User) -> String {
    let wanted = user.session.resolve(&[]).unwrap();
    let [Wanted::Derivation { drv, .. }] = &wanted[..] else { panic!("{wanted:?}") };
    assert!(user.session.store.physical_path(drv).starts_with(user.home.path()));
    assert!(user.session.store.is_valid(drv).unwrap());
    drv.to_string()
}

#[test]
fn two_sessions_of_one_process_are_apart() {
    let ada = user("ada", EvalSettings { access: Access::Impure, ..EvalSettings::default() });
    let bob = user("bob", EvalSettings { access: Access::Impure, jobs: 2, ..EvalSettings::default() });
    let [of_ada, of_bob] = [&ada, &bob].map(instantiate);
    assert!(of_ada.ends_with("-for-ada.drv") && of_bob.ends_with("-for-bob.drv"), "{of_ada} {of_bob}");
    for (one, of_other) in [(&ada, &of_bob), (&bob, &of_ada)] {
        let path = model::StorePath::parse(of_other).unwrap();
        assert!(!one.session.store.is_valid(&path).unwrap(), "{path} is in both stores");
    }
    // Each file is read from the session's own directory.
    let script = |user: &User| {
        let directory = user.session.settings().directory.clone();
        let text = b"builtins.readFile ./script";
        let origin = lang::source::Origin::CommandLine;
        let value = user.session.evaluate(|evaluator| {
            let value = evaluator.eval_text(text, origin, &directory)?;
            evaluator.string_of(value)
        });
        value.unwrap()
    };
    assert_eq!([script(&ada), script(&bob)], ["echo ada", "echo bob"]);
    for (user, message) in [(&ada, "hello ada"), (&bob, "hello bob")] {
        assert_eq!(*user.messages.0.lock().unwrap(), [message]);
    }
}

#[test]
fn settings_of_one_session_do_not_reach_the_other() {
    let pure = user("ada", EvalSettings::default());
    let impure = user("bob", EvalSettings { access: Access::Impure, ..EvalSettings::default() });
    assert!(instantiate(&impure).ends_with("-for-bob.drv"));
    // Pure evaluation has no environment.
    assert!(instantiate(&pure).ends_with("-for-.drv"));
    assert_eq!(*pure.messages.0.lock().unwrap(), ["hello "]);
}

#[test]
fn a_second_session_reuses_the_result_and_repeats_its_messages() {
    let first = user("ada", EvalSettings::default());
    let drv = instantiate(&first);
    let settings = first.session.settings().clone();
    let messages = Arc::new(Messages::default());
    let hooks = Hooks { reporter: messages.clone(), ..Hooks::silent() };
    let second = Session::open(settings.clone(), &hooks).unwrap();
    let records = settings.store.root.join("cache/evaluations");
    assert_eq!(records_in(&records), 1);
    assert!(
        matches!(&second.resolve(&[]).unwrap()[..], [Wanted::Derivation { drv: again, .. }] if again.to_string() == drv)
    );
    assert_eq!(records_in(&records), 1);
    assert_eq!(*messages.0.lock().unwrap(), ["hello "]);
    // An argument is a part of the key.
    let evaluation = EvalSettings {
        arguments: vec![("unused".to_owned(), workspace::Argument::Text("x".to_owned()))],
        ..settings.evaluation.clone()
    };
    let third = Session::open(Settings { evaluation, ..settings }, &Hooks::silent()).unwrap();
    third.resolve(&[]).unwrap();
    assert_eq!(records_in(&records), 2);
}

#[test]
fn one_session_is_interrupted() {
    let (ada, bob) = (user("ada", EvalSettings::default()), user("bob", EvalSettings::default()));
    let sum = |user: &User| {
        let text = b"builtins.foldl' (a: b: a + b) 0 [ 1 2 ]";
        let origin = lang::source::Origin::CommandLine;
        user.session.evaluate(|evaluator| evaluator.eval_text(text, origin, Path::new("/")).map(drop))
    };
    ada.interrupts.interrupt();
    let error = sum(&ada).unwrap_err();
    assert!(error.to_string().contains("interrupted"), "{error}");
    assert!(ada.interrupts.requested.load(std::sync::atomic::Ordering::SeqCst));
    sum(&bob).unwrap();
    // A session that is opened after the interrupt ends as well.
    let hooks = Hooks { interrupts: ada.interrupts.clone(), ..Hooks::silent() };
    let late = Session::open(ada.session.settings().clone(), &hooks).unwrap();
    assert!(sum(&User { session: late, ..ada }).is_err());
}

fn records_in(directory: &Path) -> usize {
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}
