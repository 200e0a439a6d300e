//! SOCKS proxies: an honest one, and answers that are none.

use super::World;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use test_support::server::{Answer, Server};

/// Starts a proxy that does with each connection what `serve` does, and returns its address.
fn proxy(serve: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), serve) = (stream, serve.clone()) else { return };
            std::thread::spawn(move || serve(&mut stream));
        }
    });
    address
}

/// Takes what RFC 1928 has a client say until it wants a connection; returns host and port.
fn greet(stream: &mut TcpStream) -> std::io::Result<(String, u16)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    let mut methods = vec![0; head[1].into()];
    stream.read_exact(&mut methods)?;
    stream.write_all(&[5, 0])?;
    let mut request = [0; 5];
    stream.read_exact(&mut request)?;
    assert_eq!(request[..4], [5, 1, 0, 3], "a name is sent as a name");
    let mut rest = vec![0; usize::from(request[4]) + 2];
    stream.read_exact(&mut rest)?;
    let port = u16::from_be_bytes([rest[rest.len() - 2], rest[rest.len() - 1]]);
    Ok((String::from_utf8_lossy(&rest[..rest.len() - 2]).into_owned(), port))
}

#[test]
fn hosts_are_reached_through_it_by_name() {
    let mut world = World::new();
    let server = Server::start(|_, _| Answer::new("200 OK", b"content"));
    let (target, asked) = (server.address.clone(), Arc::new(Mutex::new(Vec::new())));
    let seen = asked.clone();
    let address = proxy(move |stream| {
        seen.lock().unwrap().push(greet(stream)?);
        stream.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 80])?;
        let mut server = TcpStream::connect(&target)?;
        let (mut from, mut to) = (stream.try_clone()?, server.try_clone()?);
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        std::io::copy(&mut server, stream).map(drop)
    });
    world.config.proxies.http = Some(format!("socks5h://{address}"));
    world.fetch(&["http://never.invalid:8080/x".to_owned()], b"content").unwrap();
    assert_eq!(*asked.lock().unwrap(), [("never.invalid".to_owned(), 8080)]);
    assert_eq!(server.seen()[0].header("host"), Some("never.invalid:8080"));
}

#[test]
fn what_is_no_answer_ends_in_an_error() {
    let answers: [(&str, &[u8]); 9] = [
        ("nothing", b""),
        ("another version", &[4, 0]),
        ("a method that was not offered", &[5, 2]),
        ("no method", &[5, 0xff]),
        ("a refusal", &[5, 0, 5, 5, 0, 1, 0, 0, 0, 0, 0, 0]),
        ("a refusal for a reason that there is not", &[5, 0, 5, 0xee, 0, 1, 0, 0, 0, 0, 0, 0]),
        ("an address of a kind that there is not", &[5, 0, 5, 0, 0, 9, 0, 0, 0, 0, 0, 0]),
        ("a name that is longer than what comes", &[5, 0, 5, 0, 0, 3, 255, b'x']),
        ("HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    ];
    for (case, answer) in answers {
        let mut world = World::new();
        world.config.retries = 0;
        let address = proxy(move |stream| {
            stream.write_all(answer)?;
            let mut sink = [0; 1024];
            // So that what was sent arrives before the end does.
            stream.shutdown(std::net::Shutdown::Write)?;
            while stream.read(&mut sink)? > 0 {}
            Ok(())
        });
        world.config.proxies.http = Some(format!("socks5://user:secret@{address}"));
        let error = world.fetch(&["http://127.0.0.1:9/x".to_owned()], b"content").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{case}: {error}");
        assert!(error.contains("127.0.0.1:9/x"), "{case}: {error}");
    }
}
