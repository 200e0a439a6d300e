//! Git's protocol over HTTP. It uses the fetcher of all other downloads, with its proxies,
//! certificates and logins.
//!
//! Posts of Git are small, because nothing is ever pushed: they are collected, and sent when the
//! answer is first read.

use crate::sources::waiting::Waiting;
use fetch::{Answer, Fetcher};
use gix::protocol::transport::client::blocking_io::http::{GetResponse, Http, PostBodyDataKind, PostResponse};
use os::space::FreeSpace;
use std::any::Any;
use std::io::{self, BufRead, BufReader, Cursor, Read, Write};
use std::sync::{Arc, Mutex};

pub(super) struct Client<'f> {
    fetcher: &'f Fetcher,
    /// Free space of the directory that responses are written to.
    space: &'f Arc<FreeSpace>,
    waiting: &'f Waiting,
    /// Base of the URL after redirects.
    redirected: Option<String>,
}

impl<'f> Client<'f> {
    /// Makes a client that counts received bytes in `waiting`.
    pub fn new(fetcher: &'f Fetcher, space: &'f Arc<FreeSpace>, waiting: &'f Waiting) -> Client<'f> {
        Client { fetcher, space, waiting, redirected: None }
    }

    fn exchange(&self, url: &str, headers: impl IntoIterator<Item = impl AsRef<str>>) -> Exchange<'f> {
        let headers = headers.into_iter().filter_map(|line| {
            let (name, value) = line.as_ref().split_once(':')?;
            // The fetcher has the logins, also those of the URL.
            let is_login = name.eq_ignore_ascii_case("Authorization");
            (!is_login).then(|| (name.to_owned(), value.trim().to_owned()))
        });
        let (url, headers) = (url.to_owned(), headers.collect());
        Exchange { fetcher: self.fetcher, space: self.space, url, headers, posted: None, answer: None }
    }
}

impl<'f> Http for Client<'f> {
    type Headers = OnFirstRead<'f, Cursor<Vec<u8>>>;
    type ResponseBody = OnFirstRead<'f, BufReader<Box<dyn Read + Send>>>;
    type PostBody = Posted<'f>;

    fn get(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> gix::Result<GetResponse<Self::Headers, Self::ResponseBody>> {
        let mut exchange = self.exchange(url, headers);
        let answer = exchange.answer().map_err(gix::Error::from_error)?;
        let tail = url.strip_prefix(base_url).unwrap_or_default();
        if let Some(base) = answer.redirected.as_deref().and_then(|url| url.strip_suffix(tail)) {
            self.redirected = Some(base.to_owned());
        }
        let exchange = Arc::new(Mutex::new(exchange));
        Ok(GetResponse {
            headers: OnFirstRead::new(&exchange, headers_of, self.waiting),
            body: OnFirstRead::new(&exchange, body_of, self.waiting),
        })
    }

    fn post(
        &mut self,
        url: &str,
        _base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        _body: PostBodyDataKind,
    ) -> gix::Result<PostResponse<Self::Headers, Self::ResponseBody, Self::PostBody>> {
        let mut exchange = self.exchange(url, headers);
        exchange.posted = Some(Vec::new());
        let exchange = Arc::new(Mutex::new(exchange));
        Ok(PostResponse {
            headers: OnFirstRead::new(&exchange, headers_of, self.waiting),
            body: OnFirstRead::new(&exchange, body_of, self.waiting),
            post_body: Posted(Arc::clone(&exchange)),
        })
    }

    fn configure(&mut self, _config: &dyn Any) -> gix::Result<()> {
        Ok(())
    }

    fn redirected_base_url(&self) -> Option<String> {
        self.redirected.clone()
    }
}

type SharedExchange<'f> = Arc<Mutex<Exchange<'f>>>;

/// A request, and its response once it was sent.
struct Exchange<'f> {
    fetcher: &'f Fetcher,
    space: &'f Arc<FreeSpace>,
    url: String,
    headers: Vec<(String, String)>,
    posted: Option<Vec<u8>>,
    answer: Option<Answer>,
}

impl Exchange<'_> {
    fn answer(&mut self) -> io::Result<&mut Answer> {
        if self.answer.is_none() {
            let answer = self.fetcher.exchange(&self.url, &self.headers, self.posted.as_deref());
            let mut answer = answer.map_err(io::Error::other)?;
            let available_bytes = self.space.available_bytes().unwrap_or(u64::MAX);
            let space = Arc::clone(self.space);
            answer.body = Box::new(Claiming { inner: answer.body, space, available_bytes, read_bytes: 0 });
            self.answer = Some(answer);
        }
        self.answer.as_mut().ok_or_else(|| io::ErrorKind::Other.into())
    }
}

/// A response that is written to the disk, but not as it is read: each object is held in memory
/// whole before. So the space at the beginning must be enough for all of it.
struct Claiming {
    inner: Box<dyn Read + Send>,
    space: Arc<FreeSpace>,
    /// Free space when the response began.
    available_bytes: u64,
    read_bytes: u64,
}

impl Read for Claiming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read_bytes += count as u64;
        if self.read_bytes > self.available_bytes {
            // Other processes may have freed space since.
            let space = self.space.require(self.read_bytes);
            space.map_err(|error| io::Error::new(io::ErrorKind::StorageFull, error))?;
        }
        Ok(count)
    }
}

pub(super) struct Posted<'f>(SharedExchange<'f>);

impl Write for Posted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut exchange = os::lock(&self.0);
        exchange.posted.get_or_insert_default().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Formats headers as `name:value`, one for each line.
fn headers_of(answer: &mut Answer) -> Cursor<Vec<u8>> {
    let lines = answer.headers.iter();
    Cursor::new(lines.flat_map(|(name, value)| [name.as_bytes(), b":", value, b"\n"].concat()).collect())
}

fn body_of(answer: &mut Answer) -> BufReader<Box<dyn Read + Send>> {
    BufReader::with_capacity(1 << 16, std::mem::replace(&mut answer.body, Box::new(io::empty())))
}

/// A part of a response; the request is sent when the part is first read.
pub(super) struct OnFirstRead<'f, R> {
    exchange: SharedExchange<'f>,
    part: fn(&mut Answer) -> R,
    reader: Option<R>,
    waiting: &'f Waiting,
}

impl<'f, R> OnFirstRead<'f, R> {
    fn new(exchange: &SharedExchange<'f>, part: fn(&mut Answer) -> R, waiting: &'f Waiting) -> Self {
        OnFirstRead { exchange: Arc::clone(exchange), part, reader: None, waiting }
    }

    fn reader(&mut self) -> io::Result<&mut R> {
        if self.reader.is_none() {
            let mut exchange = os::lock(&self.exchange);
            self.reader = Some((self.part)(exchange.answer()?));
        }
        self.reader.as_mut().ok_or_else(|| io::ErrorKind::Other.into())
    }
}

impl<R: Read> Read for OnFirstRead<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader()?.read(buffer)?;
        self.waiting.add(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for OnFirstRead<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader()?.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.waiting.add(count);
        if let Some(reader) = &mut self.reader {
            reader.consume(count);
        }
    }
}
