//! A small HTTP/1.1 server on loopback: a function makes its answers, and it records its requests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request: its first line, its headers, names in lower case, and its body.
#[derive(Clone, Debug)]
pub struct Request {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// Returns the start of the requested range.
    pub fn range_start(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// An answer; the connection is closed after `close_after` bytes of the body.
pub struct Answer {
    pub status: &'static str,
    pub headers: Vec<String>,
    pub body: Vec<u8>,
    pub close_after: Option<usize>,
}

impl Answer {
    pub fn new(status: &'static str, body: &[u8]) -> Self {
        Self { status, headers: Vec::new(), body: body.to_vec(), close_after: None }
    }

    pub fn header(mut self, line: impl Into<String>) -> Self {
        self.headers.push(line.into());
        self
    }

    /// Returns the file, or the requested part of it, as a server with ranges does.
    pub fn file(request: &Request, content: &[u8]) -> Self {
        match request.range_start() {
            Some(start) if start >= content.len() => {
                Self::new("416 Range Not Satisfiable", b"").header(format!("Content-Range: bytes */{}", content.len()))
            }
            Some(start) => Self::new("206 Partial Content", &content[start..]).header(format!(
                "Content-Range: bytes {start}-{}/{}",
                content.len() - 1,
                content.len()
            )),
            None => Self::new("200 OK", content),
        }
    }
}

pub struct Server {
    pub address: String,
    pub requests: Arc<Mutex<Vec<Request>>>,
    pub connections: Arc<Mutex<u32>>,
}

impl Server {
    /// Starts a server that lives as long as the test process.
    pub fn start(answer: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let connections: Arc<Mutex<u32>> = Arc::default();
        let (seen, counted, answer) = (requests.clone(), connections.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                *counted.lock().unwrap() += 1;
                let (seen, answer) = (seen.clone(), answer.clone());
                std::thread::spawn(move || serve(stream, &seen, &*answer));
            }
        });
        Self { address, requests, connections }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn seen(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, seen: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request, usize) -> Answer) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let line = reader.by_ref().lines().next()?.ok()?;
        let mut headers = Vec::new();
        loop {
            let line = reader.by_ref().lines().next()?.ok()?;
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.push((name.to_lowercase(), value.to_owned()));
        }
        let mut request = Request { line, headers, body: Vec::new() };
        let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        reader.by_ref().take(length).read_to_end(&mut request.body).ok()?;
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.push(request.clone());
            seen.len() - 1
        };
        let answer = answer(&request, number);
        let mut head = format!("HTTP/1.1 {}\r\n", answer.status);
        if !answer.headers.iter().any(|header| header.starts_with("Transfer-Encoding")) {
            head.push_str(&format!("Content-Length: {}\r\n", answer.body.len()));
        }
        for header in &answer.headers {
            head.push_str(&format!("{header}\r\n"));
        }
        writer.write_all(format!("{head}\r\n").as_bytes()).ok()?;
        let end = answer.close_after.unwrap_or(answer.body.len());
        writer.write_all(&answer.body[..end]).ok()?;
        writer.flush().ok()?;
        if answer.close_after.is_some() {
            return None;
        }
    }
}
