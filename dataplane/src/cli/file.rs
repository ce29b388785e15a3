//! Options from a file, below those of the command line and of the environment.
//!
//! The file is a YAML mapping from names of options, with `_` in place of `-`, to their values. What the command line or the
//! environment does not name is put before the command line's own arguments, so it is checked exactly as they are.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use brainy_coordination::config::SETTINGS;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_yaml::Value;

/// Name of the option that names the file.
const OPTION: &str = "config";

/// A file with options, as it was read last.
#[derive(Clone, Debug)]
pub struct OptionsFile {
    path: PathBuf,
    /// The command line without what comes from the file.
    arguments: Vec<OsString>,
    text: Vec<u8>,
    entries: BTreeMap<String, String>,
}

/// A command line completed from its file.
pub(super) struct Completed {
    pub(super) arguments: Vec<OsString>,
    pub(super) file: Option<OptionsFile>,
}

/// Completes `arguments`, the program's name first, from the file that they or the environment name.
///
/// # Errors
/// The file cannot be read, or names what is no option.
pub(super) fn complete(
    command: &Command,
    arguments: Vec<OsString>,
) -> Result<Completed, clap::Error> {
    // What is wrong with the arguments themselves is told when they are parsed in earnest.
    let given = command
        .clone()
        .ignore_errors(true)
        .try_get_matches_from(&arguments);
    // Subcommands have no use for a node's options, and do not go with them.
    let node = given
        .as_ref()
        .ok()
        .filter(|given| given.subcommand_name().is_none());
    let path = node.and_then(|given| given.get_one::<PathBuf>(OPTION).cloned());
    let (Ok(given), Some(path)) = (given, path) else {
        return Ok(Completed {
            arguments,
            file: None,
        });
    };
    let failed = |text: String| clap::Error::raw(ErrorKind::Io, format!("{text}\n"));
    let text = fs::read(&path).map_err(|e| {
        failed(format!(
            "cannot read {}, which --config names: {e}",
            path.display()
        ))
    })?;
    let entries = parse(command, &path, &text).map_err(failed)?;
    let mut completed: Vec<OsString> = arguments.iter().take(1).cloned().collect();
    for (key, value) in &entries {
        if let Some(argument) = option(command, key)
            && !is_given(&given, argument)
        {
            completed.extend(as_argument(argument, key, value, &path, &text).map_err(failed)?);
        }
    }
    completed.extend(arguments.iter().skip(1).cloned());
    Ok(Completed {
        arguments: completed,
        file: Some(OptionsFile {
            path,
            arguments,
            text,
            entries,
        }),
    })
}

fn option<'c>(command: &'c Command, key: &str) -> Option<&'c Arg> {
    let long = key.replace('_', "-");
    command
        .get_arguments()
        .find(|argument| argument.get_long() == Some(&long) && long != OPTION)
}

fn is_given(given: &ArgMatches, argument: &Arg) -> bool {
    // An argument of the program that takes no value is not in the matches before it is built.
    let id = argument.get_id().as_str();
    let known = given.ids().any(|found| found.as_str() == id);
    known
        && matches!(
            given.value_source(id),
            Some(ValueSource::CommandLine | ValueSource::EnvVariable)
        )
}

/// The mapping in `text`, values as a command line would have them.
fn parse(command: &Command, path: &Path, text: &[u8]) -> Result<BTreeMap<String, String>, String> {
    let place = path.display();
    let parsed: Value = serde_yaml::from_slice(text).map_err(|e| format!("{place}: {e}"))?;
    let mapping = match parsed {
        Value::Null => return Ok(BTreeMap::new()),
        Value::Mapping(mapping) => mapping,
        _ => {
            return Err(format!(
                "{place}: a mapping from options to values is expected"
            ));
        }
    };
    let mut entries = BTreeMap::new();
    for (key, value) in mapping {
        let Value::String(key) = key else {
            return Err(format!("{place}: {key:?} is no name of an option"));
        };
        let at = format!("{place}, line {}", line_of(text, &key));
        if option(command, &key).is_none() {
            return Err(format!(
                "{at}: there is no option '{key}'; `brainyd --help` lists them, here with '_' in place of '-' and without the leading '--'"
            ));
        }
        let value = match value {
            Value::String(value) => value,
            Value::Bool(value) => value.to_string(),
            Value::Number(value) => value.to_string(),
            // An option without a value is one that is not set.
            Value::Null => continue,
            Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => {
                return Err(format!(
                    "{at}: '{key}' has one value, not a list or a mapping"
                ));
            }
        };
        // `-` and `_` spell the same option.
        if entries.insert(key.replace('-', "_"), value).is_some() {
            return Err(format!("{at}: '{key}' is there twice"));
        }
    }
    Ok(entries)
}

fn as_argument(
    argument: &Arg,
    key: &str,
    value: &str,
    path: &Path,
    text: &[u8],
) -> Result<Option<OsString>, String> {
    let long = key.replace('_', "-");
    if !matches!(argument.get_action(), ArgAction::SetTrue) {
        return Ok(Some(format!("--{long}={value}").into()));
    }
    match value {
        "true" => Ok(Some(format!("--{long}").into())),
        "false" => Ok(None),
        other => Err(format!(
            "{}, line {}: '{key}' is '{other}', it must be true or false",
            path.display(),
            line_of(text, key)
        )),
    }
}

/// Line of a key, from 1.
fn line_of(text: &[u8], key: &str) -> usize {
    let spelled = [key.to_owned(), key.replace('_', "-")];
    let text = String::from_utf8_lossy(text);
    let at = text.lines().position(|line| {
        let start = line.trim_start_matches(['"', '\'', '{', ' ']);
        spelled.iter().any(|key| {
            let rest = start.strip_prefix(key.as_str());
            rest.is_some_and(|rest| rest.trim_start_matches(['"', '\'', ' ']).starts_with(':'))
        })
    });
    at.unwrap_or(0) + 1
}

impl OptionsFile {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same error, naming the file and the line if it is about a value from there.
    pub(super) fn explain(&self, error: clap::Error) -> clap::Error {
        let Some(ContextValue::String(about)) = error.get(ContextKind::InvalidArg) else {
            return error;
        };
        let named = about.trim_start_matches('-').split([' ', '=']).next();
        let Some(key) = named.map(|named| named.replace('-', "_")) else {
            return error;
        };
        if error.kind() == ErrorKind::MissingRequiredArgument || !self.entries.contains_key(&key) {
            return error;
        }
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        let said = first.trim_start_matches("error: ");
        let place = self.path.display();
        let line = line_of(&self.text, &key);
        clap::Error::raw(error.kind(), format!("{place}, line {line}: {said}\n"))
    }

    /// Reads the file again; `None` if it is what it was.
    ///
    /// # Errors
    /// It cannot be read, or breaks a rule; its line is named. It is taken for read all the same.
    pub fn reread(&mut self) -> Result<Option<Reread>, String> {
        let text = fs::read(&self.path)
            .map_err(|e| format!("cannot read {}: {e}", self.path.display()))?;
        if text == self.text {
            return Ok(None);
        }
        self.text = text;
        let parsed = super::Invocation::try_from_args(self.arguments.clone());
        let cli = match parsed {
            Ok(super::Invocation::Serve(cli)) => cli,
            Ok(_) => return Ok(None),
            Err(error) => return Err(error.to_string().trim().to_owned()),
        };
        let Some(new) = &cli.file else {
            return Ok(None);
        };
        let is_hot = |key: &String| {
            *key == "poll_interval_ms" || SETTINGS.iter().any(|setting| setting.name == *key)
        };
        let keys = self.entries.keys().chain(new.entries.keys());
        let mut need_restart: Vec<String> = keys
            .filter(|key| self.entries.get(*key) != new.entries.get(*key) && !is_hot(key))
            .cloned()
            .collect();
        need_restart.sort();
        need_restart.dedup();
        *self = new.clone();
        Ok(Some(Reread { cli, need_restart }))
    }
}

/// What a file that changed says now.
#[derive(Debug)]
pub struct Reread {
    /// The command line completed from it.
    pub cli: Box<super::Cli>,
    /// Changed options that are read at the start only.
    pub need_restart: Vec<String>,
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tempfile::NamedTempFile;

    use super::super::{Cli, Invocation, RoleArg};

    fn file(text: &str) -> NamedTempFile {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn parse(file: &NamedTempFile, more: &[&str]) -> Result<Box<Cli>, String> {
        let path = file.path().to_str().unwrap();
        let named = ["brainyd", "--config", path];
        match Invocation::try_from_args(named.iter().chain(more)) {
            Ok(Invocation::Serve(cli)) => Ok(cli),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_file_gives_what_the_command_line_does_not() {
        let file = file(
            "# of a test\nrole: writer\ninstance: w-0\ns3-bucket: b\ns3_path_style: true\nflush_bytes: 100000\nmax_search_limit: 7\npartitions:\n",
        );
        let cli = parse(&file, &["--flush-bytes", "200000", "--role", "hybrid"]).unwrap();
        assert_eq!(cli.role, RoleArg::Hybrid);
        assert_eq!(cli.instance.as_str(), "w-0");
        let s3 = cli.s3().unwrap();
        assert_eq!((s3.bucket.as_str(), s3.path_style), ("b", true));
        let local = cli.local_config();
        assert_eq!(local.flush_bytes, Some(200_000));
        assert_eq!(local.max_search_limit, Some(7));
        assert_eq!(cli.partitions, None);
    }

    #[test]
    fn what_is_wrong_in_a_file_is_named_with_its_line() {
        for (text, named) in [
            (
                "log_level: info\nflush_bites: 3\n",
                "line 2: there is no option 'flush_bites'",
            ),
            (
                "\n\nflush_bytes: 3\n",
                "line 3: invalid value '3' for '--flush-bytes",
            ),
            ("listen: [1, 2]\n", "line 1: 'listen' has one value"),
            ("s3_path_style: perhaps\n", "must be true or false"),
            ("config: other.yaml\n", "there is no option 'config'"),
            ("- a\n", "a mapping from options to values is expected"),
            ("a: b: c\n", "line 1"),
            ("log_level: info\nlog-level: warn\n", "is there twice"),
        ] {
            let error = parse(&file(text), &[]).unwrap_err();
            assert!(error.contains(named), "{text:?}: {error}");
        }
        let error = Invocation::try_from_args(["brainyd", "--config", "/no/such/file"]);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("/no/such/file"), "{error}");
    }

    #[test]
    fn needs_of_the_command_line_hold_for_files_too() {
        let error = parse(&file("role: writer\ninstance: w-0\n"), &[]).unwrap_err();
        assert!(error.contains("--s3-bucket"), "{error}");
        parse(&file(""), &["--help"]).unwrap_err();
    }

    #[test]
    fn a_file_that_changed_says_what_is_hot_and_what_needs_a_restart() {
        let file = file("flush_bytes: 100000\nlisten: 127.0.0.1:1\n");
        let path = file.path().to_owned();
        let mut read = parse(&file, &["--max-search-limit=5"])
            .unwrap()
            .file
            .unwrap();
        assert!(read.reread().unwrap().is_none());
        std::fs::write(
            &path,
            "flush_bytes: 300000\nlisten: 127.0.0.1:2\nmax_search_limit: 9\n",
        )
        .unwrap();
        let now = read.reread().unwrap().unwrap();
        assert_eq!(now.need_restart, ["listen"]);
        let local = now.cli.local_config();
        assert_eq!(
            (local.flush_bytes, local.max_search_limit),
            (Some(300_000), Some(5))
        );
        std::fs::write(&path, "flush_bytes: x\n").unwrap();
        let error = read.reread().unwrap_err();
        assert!(error.contains("line 1"), "{error}");
        assert!(read.reread().unwrap().is_none(), "reported once");
        std::fs::write(
            &path,
            "flush_bytes: 400000\nlisten: 127.0.0.1:2\nmax_search_limit: 9\n",
        )
        .unwrap();
        let now = read.reread().unwrap().unwrap();
        assert!(now.need_restart.is_empty());
    }
}
