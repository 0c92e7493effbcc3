//! Memory servers for tests: started by a test, and gone with it.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use factstr_client::testing::MemoryServer;
//!
//! let server = MemoryServer::start()?;
//! let store = factstr_client::connect(server.target())?;
//! # let _ = store;
//! # Ok(())
//! # }
//! ```

use std::env;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const ARGUMENTS: [&str; 7] = ["--store", "memory:", "--listen", "127.0.0.1:0", "--log-format", "text", "--stop-at-eof"];

/// How long a server may take to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A server with an empty store in memory, on a port of its own.
///
/// It stops when this is dropped, and also when the test's process is killed: at the end of its standard input.
#[derive(Debug)]
pub struct MemoryServer {
    process: Child,
    target: String,
}

impl MemoryServer {
    /// Starts a server, and returns when it takes calls.
    ///
    /// The command is `FACTSTR_SERVER`, split into words as a shell does it; where that is unset or empty,
    /// `factstr-server` on the path. It gets no `FACTSTR_` variable of the environment.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or ends before it takes calls: with what it has said on standard error.
    pub fn start() -> io::Result<Self> {
        Self::started_by(&command_line(env::var("FACTSTR_SERVER").ok()))
    }

    fn started_by(line: &str) -> io::Result<Self> {
        let words = shlex::split(line).unwrap_or_default();
        let Some((program, arguments)) = words.split_first() else {
            return Err(io::Error::other(format!("FACTSTR_SERVER is {line:?}: no command line")));
        };
        let mut command = Command::new(program);
        command.args(arguments).args(ARGUMENTS).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FACTSTR_")) {
            command.env_remove(name);
        }
        let mut process = command.spawn().map_err(|error| io::Error::new(error.kind(), no_start(program, &error)))?;
        let errors = process.stderr.take();
        let mut server = Self { process, target: String::new() };
        server.target = address(errors.ok_or(io::ErrorKind::BrokenPipe)?)?;
        Ok(server)
    }

    /// Returns where the server is, for [`connect`](crate::connect).
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }
}

impl Drop for MemoryServer {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let began = Instant::now();
        while began.elapsed() < STOP_TIMEOUT {
            // There is no wait of the standard library that ends by itself.
            match self.process.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(5)),
                _ => return,
            }
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command_line(named: Option<String>) -> String {
    named.filter(|line| !line.is_empty()).unwrap_or_else(|| "factstr-server".to_owned())
}

fn no_start(program: &str, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound {
        format!("there is no {program}: install factstr-server, or name its command in FACTSTR_SERVER")
    } else {
        format!("{program} cannot be started: {error}")
    }
}

/// Waits for the line that names the address; reads on in a thread, because a full pipe would hold the server up.
fn address(errors: ChildStderr) -> io::Result<String> {
    let mut lines = BufReader::new(errors).lines();
    let mut said = String::new();
    for line in lines.by_ref() {
        let line = line?;
        if let Some((before, address)) = line.rsplit_once(" on ")
            && before.contains(" serves ")
        {
            let address = address.to_owned();
            thread::spawn(move || lines.for_each(drop));
            return Ok(address);
        }
        said.push_str(&line);
        said.push('\n');
    }
    Err(io::Error::other(format!("the server has ended before it took calls:\n{said}")))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_does_not_serve_says_why() {
        let error = MemoryServer::started_by("sh -c 'echo \"no room for $5\" >&2' sh").unwrap_err();
        assert!(error.to_string().ends_with("no room for --log-format\n"), "{error}");
    }

    #[test]
    fn what_is_no_command_is_refused() {
        for line in [" ", "'"] {
            assert!(MemoryServer::started_by(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_command_that_is_not_there_is_asked_for() {
        let error = MemoryServer::started_by("nowhere-to-be-found --fast").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(
            error.to_string(),
            "there is no nowhere-to-be-found: install factstr-server, or name its command in FACTSTR_SERVER"
        );
    }

    #[test]
    fn an_empty_command_is_none() {
        assert_eq!(command_line(None), "factstr-server");
        assert_eq!(command_line(Some(String::new())), "factstr-server");
        assert_eq!(command_line(Some("python -m factstr_server".into())), "python -m factstr_server");
    }
}
