//! Fetching from servers on loopback that behave well, badly and worse.

mod socks;

use super::*;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use test_support::server::{Answer, Server};

struct World {
    directory: tempfile::TempDir,
    config: FetchConfig,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = FetchConfig::new(directory.path().join("partial"));
        config.backoff = Duration::from_millis(1);
        config.idle_timeout = Duration::from_secs(5);
        Self { directory, config }
    }

    fn dest(&self) -> PathBuf {
        self.directory.path().join("dest")
    }

    fn fetch(&self, urls: &[String], content: &[u8]) -> Result<Fetched, FetchError> {
        self.fetch_expecting(urls, Some(HashAlgorithm::Sha256.hash(content)))
    }

    fn fetch_expecting(&self, urls: &[String], expected: Option<Hash>) -> Result<Fetched, FetchError> {
        let fetch = Fetch { urls: urls.to_vec(), expected, name: "x.tar".to_owned() };
        Fetcher::new(self.config.clone()).fetch(&fetch, &self.dest(), &|_, _| ())
    }

    /// Nothing is left in the partial directory.
    fn assert_clean(&self) {
        let left: Vec<_> =
            fs::read_dir(&self.config.partial_dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn content() -> Vec<u8> {
    (0..300_000u32).flat_map(|n| n.to_le_bytes()).collect()
}

#[test]
fn a_file_and_its_progress() {
    let (world, content) = (World::new(), content());
    let body = content.clone();
    let server = Server::start(move |request, _| Answer::file(request, &body));
    let last = std::cell::Cell::new((0, None));
    let fetch = Fetch {
        urls: vec![server.url("/pool/x%20y.tar?z")],
        expected: Some(HashAlgorithm::Blake3.hash(&content)),
        name: "x".into(),
    };
    let fetched = Fetcher::new(world.config.clone())
        .fetch(&fetch, &world.dest(), &|done, total| last.set((done, total)))
        .unwrap();
    assert_eq!(fs::read(world.dest()).unwrap(), content);
    assert_eq!((fetched.size_bytes, fetched.hash), (content.len() as u64, fetch.expected.unwrap()));
    assert_eq!(last.get(), (content.len() as u64, Some(content.len() as u64)));
    assert_eq!(server.seen()[0].path(), "/pool/x%20y.tar?z");
    assert_eq!(server.seen()[0].header("accept-encoding"), Some("identity"));
    world.assert_clean();
}

#[test]
fn one_connection_serves_many_files() {
    let world = World::new();
    let server = Server::start(|request, _| Answer::file(request, request.path().as_bytes()));
    let fetcher = Fetcher::new(world.config.clone());
    for n in 0..20 {
        let path = format!("/{n}");
        let expected = Some(HashAlgorithm::Sha256.hash(path.as_bytes()));
        let fetch = Fetch { urls: vec![server.url(&path)], expected, name: path };
        fetcher.fetch(&fetch, &world.dest(), &|_, _| ()).unwrap();
    }
    assert_eq!(*server.connections.lock().unwrap(), 1);
}

#[test]
fn a_broken_connection_is_continued() {
    let (world, content) = (World::new(), content());
    let body = content.clone();
    let server = Server::start(move |request, _| {
        let mut answer = Answer::file(request, &body).header("ETag: \"v1\"");
        // Each connection gives at most 500,000 bytes: three requests make the file.
        answer.close_after = (answer.body.len() > 500_000).then_some(500_000);
        answer
    });
    world.fetch(&[server.url("/x")], &content).unwrap();
    assert_eq!(fs::read(world.dest()).unwrap(), content);
    let seen = server.seen();
    let starts: Vec<_> = seen.iter().map(|request| request.range_start()).collect();
    assert_eq!(starts.len(), 3, "{starts:?}");
    assert_eq!(starts[0], None);
    assert!(starts[1].unwrap() > 0 && starts[2] > starts[1], "{starts:?}");
    assert_eq!(seen[1].header("if-range"), Some("\"v1\""));
}

/// The part of a killed process is continued by the next, from any URL.
#[test]
fn another_process_continues() {
    let (world, content) = (World::new(), content());
    let hash = HashAlgorithm::Sha256.hash(&content);
    fs::create_dir_all(&world.config.partial_dir).unwrap();
    let part = world.config.partial_dir.join(format!("sha256-{}.part", hash.hex()));
    fs::write(&part, &content[..1_000_000]).unwrap();
    let body = content.clone();
    let server = Server::start(move |request, _| Answer::file(request, &body));
    world.fetch(&[server.url("/x")], &content).unwrap();
    assert_eq!(server.seen()[0].range_start(), Some(1_000_000));
    assert_eq!(fs::read(world.dest()).unwrap(), content);

    // All bytes were there already: the server says so, and the hash is what counts.
    fs::write(&part, &content).unwrap();
    world.fetch(&[server.url("/x")], &content).unwrap();
    assert_eq!(fs::read(world.dest()).unwrap(), content);
}

#[test]
fn a_wrong_beginning_is_thrown_away() {
    let (world, content) = (World::new(), content());
    let hash = HashAlgorithm::Sha256.hash(&content);
    fs::create_dir_all(&world.config.partial_dir).unwrap();
    fs::write(world.config.partial_dir.join(format!("sha256-{}.part", hash.hex())), vec![7; 1000]).unwrap();
    let body = content.clone();
    let server = Server::start(move |request, _| Answer::file(request, &body));
    world.fetch(&[server.url("/x")], &content).unwrap();
    let starts: Vec<_> = server.seen().iter().map(|request| request.range_start()).collect();
    assert_eq!(starts, [Some(1000), None]);
    world.assert_clean();
}

#[test]
fn without_a_hash_only_a_validator_continues() {
    let (world, content) = (World::new(), content());
    let body = content.clone();
    let server = Server::start(move |request, number| {
        let mut answer = Answer::file(request, &body);
        answer.close_after = (number == 0).then_some(500_000);
        answer
    });
    let fetched = world.fetch_expecting(&[server.url("/x")], None).unwrap();
    assert_eq!(fetched.hash, HashAlgorithm::Sha256.hash(&content));
    assert_eq!(server.seen()[1].range_start(), None);
}

#[test]
fn a_server_without_ranges_starts_over() {
    let (world, content) = (World::new(), content());
    let body = content.clone();
    let server = Server::start(move |_, number| {
        let mut answer = Answer::new("200 OK", &body);
        answer.close_after = (number == 0).then_some(500_000);
        answer
    });
    world.fetch(&[server.url("/x")], &content).unwrap();
    assert_eq!(fs::read(world.dest()).unwrap(), content);
}

#[test]
fn errors_that_pass_are_retried_and_others_not() {
    let world = World::new();
    let server = Server::start(|request, number| match (request.path(), number) {
        ("/gone", _) => Answer::new("404 Not Found", b"no"),
        (_, 0 | 1) => Answer::new("503 Service Unavailable", b"busy").header("Retry-After: 0"),
        _ => Answer::new("200 OK", b"content"),
    });
    world.fetch(&[server.url("/busy")], b"content").unwrap();
    assert_eq!(server.seen().len(), 3);
    let error = world.fetch(&[server.url("/gone")], b"content").unwrap_err();
    assert_eq!(server.seen().len(), 4);
    assert_eq!(
        error.to_string(),
        format!("cannot fetch `x.tar`: its one URL failed\n  {}: HTTP 404 Not Found", server.url("/gone"))
    );
    world.assert_clean();
}

#[test]
fn every_url_is_named_with_what_it_said() {
    let world = World::new();
    let server = Server::start(|_, _| Answer::new("500 Internal Server Error", b""));
    let urls = [
        "mirror://debian/x".to_owned(),
        server.url("/x").replace("http://", "http://me:secret@"),
        "http://127.0.0.1:1/x".to_owned(),
        "gopher://x/".to_owned(),
        "file:///nonexistent/x".to_owned(),
    ];
    let error = world.fetch(&urls, b"x").unwrap_err().to_string();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines[0], "cannot fetch `x.tar`: all its URLs failed");
    assert_eq!(lines[1], format!("  http://***@{}/x: HTTP 500 Internal Server Error (tried 4 times)", server.address));
    assert!(lines[2].starts_with("  http://127.0.0.1:1/x: ") && lines[2].contains("refused"), "{error}");
    assert_eq!(lines[3], "  gopher://x/: the scheme `gopher` is not supported, only http, https, file and mirror are");
    assert!(lines[4].starts_with("  file:///nonexistent/x: cannot read"), "{error}");
    assert_eq!(lines.len(), 5, "a mirror without an address is no reason while a host is unreachable");
    assert!(!error.contains("secret"));
}

#[test]
fn kinds_of_failures_are_distinguished() {
    let world = World::new();
    let gone = Server::start(|_, _| Answer::new("404 Not Found", b""));
    let snapshot = "mirror://debian-snapshot/x".to_owned();

    let error = world.fetch(&[snapshot.clone(), gone.url("/x")], b"x").unwrap_err();
    let text = error.to_string();
    let last = "  mirror://debian-snapshot/x: not tried: no mirror named `debian-snapshot` is configured";
    assert_eq!(text.lines().last(), Some(last), "{text}");
    assert!(!error.is_network() && error.unreachable().is_none());
    assert!(error.help().unwrap().contains("EVAL_MIRRORS='debian-snapshot=URL'"));

    let error = world.fetch(&[snapshot, "http://127.0.0.1:1/x".to_owned()], b"x").unwrap_err();
    let (host, reason) = error.unreachable().unwrap();
    assert_eq!((host, reason), ("127.0.0.1:1", "Connection refused (ECONNREFUSED)"));
    assert!(error.is_network() && error.help().unwrap().contains("http_proxy"));

    let busy = Server::start(|_, _| Answer::new("503 Service Unavailable", b""));
    let error = world.fetch(&[busy.url("/x")], b"x").unwrap_err();
    assert!(error.is_network() && error.unreachable().is_none());
}

#[test]
fn offline_only_local_files_are_fetched() {
    let mut world = World::new();
    world.config.offline = true;
    let server = Server::start(|_, _| Answer::new("200 OK", b"x"));
    let error = world.fetch(&[server.url("/x")], b"x").unwrap_err();
    assert!(matches!(error, FetchError::Offline { .. }), "{error}");
    std::fs::write(world.directory.path().join("local"), b"x").unwrap();
    let local = format!("file://{}/local", world.directory.path().display());
    assert_eq!(world.fetch(&[server.url("/x"), local.clone()], b"x").unwrap().url, local);
}

#[test]
fn a_wrong_file_is_discarded_and_the_next_url_tried() {
    let world = World::new();
    let server = Server::start(|request, _| match request.path() {
        "/wrong" => Answer::new("200 OK", b"something else"),
        _ => Answer::new("200 OK", b"content"),
    });
    let fetched = world.fetch(&[server.url("/wrong"), server.url("/right")], b"content").unwrap();
    assert_eq!(fetched.url, server.url("/right"));
    let error = world.fetch(&[server.url("/wrong")], b"content").unwrap_err();
    let (expected, got) = error.mismatch().unwrap();
    assert_eq!(*expected, HashAlgorithm::Sha256.hash(b"content"));
    assert_eq!(*got, HashAlgorithm::Sha256.hash(b"something else"));
    assert!(error.to_string().contains(&got.sri()), "{error}");
    world.assert_clean();
}

#[test]
fn redirects() {
    let mut world = World::new();
    world.config.redirects_max = 3;
    let server = Server::start(|request, _| match request.path() {
        "/a/relative" => Answer::new("302 Found", b"moved").header("Location: ../b?c"),
        "/a/../b?c" | "/b?c" => Answer::new("200 OK", b"content"),
        "/circle" => Answer::new("301 Moved Permanently", b"").header("Location: /circle"),
        "/local" => Answer::new("302 Found", b"").header("Location: file:///etc/passwd"),
        _ => Answer::new("302 Found", b""),
    });
    world.fetch(&[server.url("/a/relative")], b"content").unwrap();
    let reason = |path: &str| world.fetch(&[server.url(path)], b"content").unwrap_err().to_string();
    assert!(reason("/circle").contains("redirected more than 3 times"));
    assert!(reason("/local").contains("the scheme `file` is not supported"));
    assert!(reason("/nowhere").contains("HTTP 302 without a `Location`"));
}

#[test]
fn passwords_stay_with_their_server() {
    let mut world = World::new();
    let other = Server::start(|_, _| Answer::new("200 OK", b"content"));
    let target = other.url("/x");
    let server = Server::start(move |_, _| Answer::new("302 Found", b"").header(format!("Location: {target}")));
    world.fetch(&[server.url("/x").replace("http://", "http://me:p%40ss@")], b"content").unwrap();
    assert_eq!(server.seen()[0].header("authorization"), Some("Basic bWU6cEBzcw=="));
    assert_eq!(other.seen()[0].header("authorization"), None);
    world.config.netrc = Netrc::parse("machine 127.0.0.1 login me password p@ss");
    world.fetch(&[other.url("/y")], b"content").unwrap();
    assert_eq!(other.seen()[1].header("authorization"), Some("Basic bWU6cEBzcw=="));
}

#[test]
fn plain_http_through_a_proxy() {
    let mut world = World::new();
    let proxy = Server::start(|_, _| Answer::new("200 OK", b"content"));
    world.config.proxies.http = Some(format!("http://user:word@{}", proxy.address));
    world.config.proxies.exceptions = vec!["127.0.0.1".to_owned()];
    let fetcher = Fetcher::new(world.config.clone());
    for path in ["/x", "/y"] {
        let expected = Some(HashAlgorithm::Sha256.hash(b"content"));
        let fetch = Fetch { urls: vec![format!("http://never.invalid:8080{path}")], expected, name: "x".into() };
        fetcher.fetch(&fetch, &world.dest(), &|_, _| ()).unwrap();
    }
    let seen = proxy.seen();
    assert_eq!(seen[0].line, "GET http://never.invalid:8080/x HTTP/1.1");
    assert_eq!(seen[0].header("host"), Some("never.invalid:8080"));
    assert_eq!(seen[0].header("proxy-authorization"), Some("Basic dXNlcjp3b3Jk"));
    assert_eq!(seen[1].line, "GET http://never.invalid:8080/y HTTP/1.1");
    assert_eq!(*proxy.connections.lock().unwrap(), 1, "connections to a proxy are kept, too");
    // Hosts that are excepted are reached directly.
    let direct = Server::start(|_, _| Answer::new("200 OK", b"content"));
    world.fetch(&[direct.url("/x")], b"content").unwrap();
    assert_eq!(direct.seen()[0].path(), "/x");
}

#[test]
fn https_asks_the_proxy_for_a_tunnel() {
    let mut world = World::new();
    world.config.retries = 0;
    let proxy = Server::start(|_, _| Answer::new("403 Forbidden", b""));
    world.config.proxies.https = Some(format!("http://{}", proxy.address));
    let error = world.fetch(&["https://never.invalid/x".to_owned()], b"content").unwrap_err().to_string();
    assert_eq!(proxy.seen()[0].line, "CONNECT never.invalid:443 HTTP/1.1");
    assert!(error.contains("the proxy refused"), "{error}");
}

#[test]
fn sizes_are_limited() {
    let mut world = World::new();
    world.config.size_max_bytes = 1000;
    let server = Server::start(|request, _| match request.path() {
        "/announced" => Answer::new("200 OK", &[0; 2000]),
        // 2,000 bytes in one chunk, their number not announced.
        _ => {
            let body = [b"7d0\r\n".as_slice(), &[0; 2000], b"\r\n0\r\n\r\n"].concat();
            Answer::new("200 OK", &body).header("Transfer-Encoding: chunked")
        }
    });
    let reason = |path: &str| world.fetch(&[server.url(path)], b"content").unwrap_err().to_string();
    assert!(reason("/announced").contains("the file has 2000 bytes, more than the 1000 allowed"));
    let chunked = reason("/chunked");
    assert!(chunked.contains("the server sends more than the 1000 bytes allowed"), "{chunked}");
}

#[test]
fn mirrors_in_order_and_unreachable_ones_last() {
    let mut world = World::new();
    let server = Server::start(|_, _| Answer::new("200 OK", b"content"));
    let dead = "http://127.0.0.2:1/debian".to_owned();
    world.config.mirrors = vec![("debian".into(), dead), ("debian".into(), server.url("/debian"))];
    let fetcher = Fetcher::new(world.config.clone());
    let expected = Some(HashAlgorithm::Sha256.hash(b"content"));
    let fetch = Fetch { urls: vec!["mirror://debian/pool/x.deb".into()], expected, name: "x".into() };
    fetcher.fetch(&fetch, &world.dest(), &|_, _| ()).unwrap();
    assert_eq!(server.seen()[0].path(), "/debian/pool/x.deb");
    let mut attempts = Vec::new();
    assert_eq!(fetcher.candidates(&fetch, &mut attempts)[0], server.url("/debian/pool/x.deb"));
}

#[test]
fn local_files() {
    let world = World::new();
    let source = world.directory.path().join("a b");
    fs::write(&source, "content").unwrap();
    let url = format!("file://{}", source.display()).replace(' ', "%20");
    world.fetch(&[url], b"content").unwrap();
    assert_eq!(fs::read(world.dest()).unwrap(), b"content");
    assert!(world.fetch(&["file://relative".to_owned()], b"content").is_err());
    world.assert_clean();
}

#[test]
fn silence_ends_and_cancelling_too() {
    let mut world = World::new();
    world.config.idle_timeout = Duration::from_millis(200);
    world.config.retries = 0;
    let server = Server::start(|_, _| {
        std::thread::sleep(Duration::from_secs(30));
        Answer::new("200 OK", b"")
    });
    let begin = Instant::now();
    let error = world.fetch(&[server.url("/x")], b"content").unwrap_err().to_string();
    assert!(error.contains("no answer within 0.2 s"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(10));
    world.config.cancel.store(true, Ordering::Relaxed);
    assert!(matches!(world.fetch(&[server.url("/x")], b"content"), Err(FetchError::Cancelled { .. })));
}

#[test]
fn no_more_transfers_at_once_than_allowed() {
    let mut world = World::new();
    world.config.parallel = 2;
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (now, high) = (running.clone(), most.clone());
    let server = Server::start(move |request, _| {
        high.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        now.fetch_sub(1, Ordering::SeqCst);
        Answer::new("200 OK", request.path().as_bytes())
    });
    let fetcher = Fetcher::new(world.config.clone());
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (fetcher, server, world) = (&fetcher, &server, &world);
            scope.spawn(move || {
                let path = format!("/{n}");
                let expected = Some(HashAlgorithm::Sha256.hash(path.as_bytes()));
                let fetch = Fetch { urls: vec![server.url(&path)], expected, name: path };
                fetcher.fetch(&fetch, &world.directory.path().join(format!("d{n}")), &|_, _| ()).unwrap();
            });
        }
    });
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[test]
fn two_who_want_the_same_file() {
    let (world, content) = (World::new(), content());
    let body = content.clone();
    let server = Server::start(move |request, _| Answer::file(request, &body));
    let expected = Some(HashAlgorithm::Sha256.hash(&content));
    std::thread::scope(|scope| {
        for n in 0..2 {
            let (server, world) = (&server, &world);
            scope.spawn(move || {
                let fetch = Fetch { urls: vec![server.url("/x")], expected, name: "x".into() };
                let dest = world.directory.path().join(format!("d{n}"));
                // A fetcher each, as two processes have.
                Fetcher::new(world.config.clone()).fetch(&fetch, &dest, &|_, _| ()).unwrap();
            });
        }
    });
    for n in 0..2 {
        assert_eq!(fs::read(world.directory.path().join(format!("d{n}"))).unwrap(), content);
    }
}

#[test]
fn certificates_that_cannot_be_read_are_named() {
    let mut world = World::new();
    world.config.ca_files = vec![PathBuf::from("/nonexistent/ca.pem")];
    let error = world.fetch(&["https://127.0.0.1:1/x".to_owned()], b"content").unwrap_err().to_string();
    assert!(error.contains("cannot read the certificates in `/nonexistent/ca.pem`"), "{error}");
}
