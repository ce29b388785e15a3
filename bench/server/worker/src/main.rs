//! The clients of `make bench-server`: commands on stdin, answers on stdout ([`protocol`]). One thread, so that the load takes
//! as little as it can from the server beside it; bodies are encoded before the clock starts.

mod client;
mod error;
mod latency;
mod npy;
mod protocol;
mod wire;
mod work;

use std::io::{BufRead, Write, stdin, stdout};

use error::Error;
use protocol::{Answer, Command};
use work::Session;

fn main() -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut session = None;
    for line in stdin().lock().lines() {
        let answer = runtime
            .block_on(carry_out(&mut session, &line?))
            .unwrap_or_else(|error| Answer::Error {
                error: error.to_string(),
            });
        let mut out = stdout().lock();
        serde_json::to_writer(&mut out, &answer)?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    Ok(())
}

async fn carry_out(session: &mut Option<Session>, line: &str) -> Result<Answer, Error> {
    let command = serde_json::from_str(line)?;
    if let Command::Open(open) = command {
        *session = Some(Session::open(open).await?);
        return Ok(Answer::Done {});
    }
    let session = session.as_mut().ok_or(Error::NotOpen)?;
    match command {
        Command::Open(_) => Ok(Answer::Done {}),
        Command::Ingest {
            base,
            batch,
            writers,
        } => session.ingest(&base, batch, writers).await,
        Command::Ready {} => session.ready().await,
        Command::Search(search) => session.search(&search).await,
    }
}
