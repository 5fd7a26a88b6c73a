//! The database node as a program of its own.

use clap::Parser;
use std::io::{Error, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// How long a node may take to say that it is healthy: to be reached, and to answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// The JadeVectorDB node: a vector database whose history can be followed, sealed and handed over.
#[derive(Parser)]
#[command(name = "jadevectordb", version, after_help = jadevectordb::cli::AFTER_HELP)]
struct Program {
    #[command(flatten)]
    args: jadevectordb::cli::Args,
    /// Run no node, and ask the one at this address whether it is healthy: exit code 0 or 1
    #[arg(long, value_name = "ADDR")]
    probe: Option<SocketAddr>,
}

fn main() -> ExitCode {
    let program = Program::parse();
    let Some(address) = program.probe else { return jadevectordb::cli::run(program.args) };
    match probe(address) {
        Ok(status) if status == "200" => ExitCode::SUCCESS,
        Ok(status) => {
            eprintln!("jadevectordb: the node at {address} answers {status}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("jadevectordb: the node at {address} does not answer: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The status of the answer: an image without a shell has nothing else to ask with.
fn probe(address: SocketAddr) -> Result<String> {
    let mut connection = TcpStream::connect_timeout(&address, PROBE_TIMEOUT)?;
    connection.set_read_timeout(Some(PROBE_TIMEOUT))?;
    connection.set_write_timeout(Some(PROBE_TIMEOUT))?;
    write!(connection, "GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut start = [0; "HTTP/1.1 200".len()];
    connection.read_exact(&mut start)?;
    let status = std::str::from_utf8(&start).ok().and_then(|start| start.strip_prefix("HTTP/1.1 "));
    status.map(String::from).ok_or_else(|| Error::other("no HTTP"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// What is found out about somebody who answers `answer` to a request.
    fn probed(answer: &'static str) -> Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                connection.read_exact(&mut byte).unwrap();
                asked.push(byte[0]);
            }
            connection.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(asked).unwrap()
        });
        let found = probe(address);
        assert!(server.join().unwrap().starts_with("GET /health HTTP/1.1\r\n"));
        found
    }

    #[test]
    fn a_probe_tells_healthy_from_unhealthy_from_silent() {
        assert_eq!(probed("HTTP/1.1 200 OK\r\n\r\n").unwrap(), "200");
        assert_eq!(probed("HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap(), "503");
        assert!(probed("").is_err());
        assert!(probed("SSH-2.0-something else").is_err());
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(probe(nobody).is_err());
    }
}
