//! The Rust engines of `make bench-index`, one per process: commands on stdin, answers on stdout ([`protocol`]).

mod engine;
mod engines;
mod error;
mod npy;
mod protocol;
mod usage;

use std::io::{BufRead, Write, stdin, stdout};

use engine::Data;
use engines::Built;
use error::Error;
use protocol::{Answer, Command};

/// What was loaded and built so far.
#[derive(Default)]
struct Worker {
    data: Option<Data>,
    built: Option<Built>,
}

impl Worker {
    fn carry_out(&mut self, line: &str) -> Result<Answer, Error> {
        match serde_json::from_str(line)? {
            Command::Load {
                base,
                queries,
                measure,
            } => {
                let data = Data::load(&base, &queries, measure)?;
                let answer = data.loaded();
                self.built = None;
                self.data = Some(data);
                Ok(answer)
            }
            Command::Build {
                engine,
                m,
                ef_construction,
                threads,
            } => {
                let data = self.data.as_ref().ok_or(Error::Order("load"))?;
                let (built, answer) = data.build(engine, m, ef_construction, threads)?;
                self.built = Some(built);
                Ok(answer)
            }
            Command::Search { k, ef, warmup, ids } => {
                let data = self.data.as_ref().ok_or(Error::Order("load"))?;
                let built = self.built.as_ref().ok_or(Error::Order("build"))?;
                data.search(built, k, ef, warmup, ids.as_deref())
            }
            Command::Memory {} => Ok(Answer::Memory(usage::memory()?)),
        }
    }
}

fn main() -> Result<(), Error> {
    let mut worker = Worker::default();
    let mut out = stdout().lock();
    for line in stdin().lock().lines() {
        let line = line.map_err(Error::Pipe)?;
        let answer = worker
            .carry_out(&line)
            .unwrap_or_else(|error| Answer::Error {
                error: error.to_string(),
            });
        writeln!(out, "{}", serde_json::to_string(&answer)?).map_err(Error::Pipe)?;
        out.flush().map_err(Error::Pipe)?;
    }
    Ok(())
}
