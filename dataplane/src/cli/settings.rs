//! The hot settings as options: made from the one list of them.

use std::sync::LazyLock;

use brainy_coordination::config::{SETTINGS, Setting, SharedConfig, Values};
use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, value_parser};
use serde_json::{Map, Value};

const HEADING: &str =
    "Settings that may change while it runs (here they override the shared configuration)";

/// What this process was told of the hot settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingArgs(pub SharedConfig);

/// Name of the option and of the environment variable of each setting, in their order.
static NAMES: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let names = SETTINGS.iter().map(|setting| {
        let option = setting.name.replace('_', "-");
        let variable = format!("BRAINY_{}", setting.name.to_uppercase());
        (option, variable)
    });
    names.collect()
});

fn argument(setting: &Setting, option: &'static str, variable: &'static str) -> Arg {
    let argument = Arg::new(setting.name)
        .long(option)
        .env(variable)
        .help_heading(HEADING);
    let about = setting.summary().trim_end_matches('.');
    match setting.values {
        Values::Number { default, min, max } => argument
            .value_name("N")
            .value_parser(value_parser!(u64).range(min..=max))
            .help(format!(
                "{about}; from {min} to {max}, {default} if nobody says"
            )),
        Values::OneOf { default, allowed } => argument
            .value_name("WORD")
            .value_parser(PossibleValuesParser::new(allowed))
            .help(format!("{about}; {default} if nobody says")),
    }
}

impl Args for SettingArgs {
    fn augment_args(command: Command) -> Command {
        let settings = SETTINGS.iter().zip(NAMES.iter());
        command.args(settings.map(|(setting, (option, variable))| {
            argument(setting, option.as_str(), variable.as_str())
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut fields = Map::new();
        for setting in SETTINGS {
            let value = match setting.values {
                Values::Number { .. } => matches.get_one::<u64>(setting.name).map(|&n| n.into()),
                Values::OneOf { .. } => matches
                    .get_one::<String>(setting.name)
                    .map(|word| word.clone().into()),
            };
            fields.extend(value.map(|value| (setting.name.to_owned(), value)));
        }
        serde_json::from_value(Value::Object(fields))
            .map(Self)
            .map_err(|e| clap::Error::raw(ErrorKind::InvalidValue, e))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0 = Self::from_arg_matches(matches)?.0.over(&self.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::Cli;

    #[test]
    fn every_setting_is_an_option_with_its_limits() {
        let cli = Cli::try_parse_from([
            "brainyd",
            "--flush-bytes",
            "100000",
            "--default-consistency=eventual",
        ])
        .unwrap();
        let local = cli.local_config();
        assert_eq!(local.flush_bytes, Some(100_000));
        assert_eq!(local.default_consistency.as_deref(), Some("eventual"));
        assert_eq!(local.max_search_limit, None);
        for wrong in ["--flush-bytes=1", "--default-consistency=perfect"] {
            Cli::try_parse_from(["brainyd", wrong]).unwrap_err();
        }
    }

    #[test]
    fn the_older_name_of_the_poll_interval_still_works() {
        let interval = |args: &[&str]| {
            let cli = Cli::try_parse_from(["brainyd"].iter().chain(args)).unwrap();
            cli.local_config().assignment_poll_interval_ms
        };
        assert_eq!(interval(&["--poll-interval-ms", "700"]), Some(700));
        let both = [
            "--poll-interval-ms=700",
            "--assignment-poll-interval-ms=800",
        ];
        assert_eq!(interval(&both), Some(800));
        assert_eq!(interval(&[]), None);
    }
}
