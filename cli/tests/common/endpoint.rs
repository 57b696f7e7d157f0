//! An HTTP endpoint that answers as a test says.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A request that came.
#[derive(Debug, Clone)]
pub struct Request {
    pub line: String,
    /// By names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
    /// Number of the connection, from 0.
    pub connection: usize,
    /// Number of the request, from 0.
    pub number: usize,
}

/// What is done with a request.
#[derive(Clone, Copy)]
pub enum Answer {
    /// Status, more header lines that each end with CR LF, body.
    Status(u16, &'static str, &'static str),
    /// Nothing, for as long as somebody waits.
    Hang,
    /// The connection is closed.
    Close,
}

pub const OK: Answer = Answer::Status(200, "", "thanks");

/// Serves until the test ends.
pub struct Endpoint {
    /// `host:port`.
    pub address: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Endpoint {
    pub fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::serve(answer, |stream| stream)
    }

    /// One that speaks TLS.
    pub fn secure(config: ServerConfig) -> Self {
        let config = Arc::new(config);
        let wrap = move |stream| {
            let connection = ServerConnection::new(config.clone()).unwrap();
            StreamOwned::new(connection, stream)
        };
        Self::serve(|_| OK, wrap)
    }

    fn serve<S: Read + Write + Send + 'static>(
        answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
        wrap: impl Fn(TcpStream) -> S + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, shared) = (Arc::new(answer), seen.clone());
        thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let stream = wrap(stream.unwrap());
                let (answer, seen) = (answer.clone(), shared.clone());
                thread::spawn(move || {
                    let mut stream = BufReader::new(stream);
                    while let Ok(Some(mut request)) = read(&mut stream, connection) {
                        {
                            let mut seen = seen.lock().unwrap();
                            request.number = seen.len();
                            seen.push(request.clone());
                        }
                        if !reply(stream.get_mut(), answer(&request)) {
                            break;
                        }
                    }
                });
            }
        });
        Self { address, seen }
    }

    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

/// The next request of a connection; `None` at its end.
fn read(stream: &mut impl BufRead, connection: usize) -> io::Result<Option<Request>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let headers = lines[1..].iter().map(|line| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    });
    let headers: BTreeMap<_, _> = headers.collect();
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    stream.read_exact(&mut body)?;
    Ok(Some(Request {
        line: lines[0].clone(),
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
        connection,
        number: 0,
    }))
}

/// Whether the connection goes on.
fn reply(stream: &mut impl Write, answer: Answer) -> bool {
    match answer {
        Answer::Status(status, headers, body) => {
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{headers}\r\n");
            let written = stream.write_all(format!("{head}{body}").as_bytes());
            written.and_then(|()| stream.flush()).is_ok()
        }
        Answer::Hang => {
            thread::sleep(Duration::from_mins(1));
            false
        }
        Answer::Close => false,
    }
}
