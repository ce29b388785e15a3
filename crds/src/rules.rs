//! How a validation rule is written once and checked twice.
//!
//! A [`Constraint`] is attached to a type as a CEL rule of the schema (the API server runs it) and is checked by the same type's
//! `check` function in Rust (`brainy-operator local` and the reconciler run it). The words of the message are shared, and so are
//! patterns and duration bounds; what remains written twice is compared by `tests/rules.rs`, which runs both on one table of specs.

use std::fmt;
use std::time::Duration;

use kube::core::Rule;
use regex::Regex;

use crate::duration::DurationString;

/// One thing that is wrong with a resource: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldError {
    /// Path of the field, such as `spec.storage.bucket` or `spec.readers.podTemplate.env[0].name`; empty for the whole resource.
    pub field: String,
    /// What is wrong, with the limit that was exceeded.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl FieldError {
    /// Problem and remedy as one sentence; the text that the API server shows for the same mistake.
    pub fn message(&self) -> String {
        format!("{}; {}", self.problem, self.remedy)
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = if self.field.is_empty() {
            "resource"
        } else {
            &self.field
        };
        write!(f, "{field}: {}; {}", self.problem, self.remedy)
    }
}

/// When a constraint holds.
#[derive(Clone, Copy, Debug)]
enum Condition {
    /// A CEL expression over `self` (and `oldSelf`); its Rust twin is written beside it.
    Cel(&'static str),
    /// The text matches a pattern (RE2 syntax, without quotes and backslashes).
    Matches(&'static str),
    /// The duration lies between two others, both included.
    Between(&'static str, &'static str),
}

/// A validation rule: condition, place and words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Constraint {
    condition: Condition,
    /// Path of the field to blame, relative to where the rule is attached, with its leading dot; empty for that place itself.
    at: &'static str,
    problem: &'static str,
    remedy: &'static str,
}

impl Constraint {
    pub(crate) const fn cel(
        expression: &'static str,
        problem: &'static str,
        remedy: &'static str,
    ) -> Self {
        Self {
            condition: Condition::Cel(expression),
            at: "",
            problem,
            remedy,
        }
    }

    pub(crate) const fn matches(
        pattern: &'static str,
        problem: &'static str,
        remedy: &'static str,
    ) -> Self {
        Self {
            condition: Condition::Matches(pattern),
            at: "",
            problem,
            remedy,
        }
    }

    pub(crate) const fn between(
        min: &'static str,
        max: &'static str,
        problem: &'static str,
        remedy: &'static str,
    ) -> Self {
        Self {
            condition: Condition::Between(min, max),
            at: "",
            problem,
            remedy,
        }
    }

    pub(crate) const fn at(self, field: &'static str) -> Self {
        Self { at: field, ..self }
    }

    fn expression(&self) -> String {
        match self.condition {
            Condition::Cel(expression) => expression.to_owned(),
            Condition::Matches(pattern) => format!("self.matches('{pattern}')"),
            Condition::Between(min, max) => {
                format!(
                    "duration(self) >= duration('{min}') && duration(self) <= duration('{max}')"
                )
            }
        }
    }
}

impl From<Constraint> for Rule {
    fn from(constraint: Constraint) -> Self {
        let message = format!("{}; {}", constraint.problem, constraint.remedy);
        let rule = Rule::new(constraint.expression()).message(message.as_str());
        if constraint.at.is_empty() {
            rule
        } else {
            rule.field_path(constraint.at)
        }
    }
}

/// Collects what a resource violates.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<FieldError>);

impl Findings {
    /// Records a violation of `constraint`, attached at `path`, unless it `holds`.
    pub(crate) fn require(&mut self, constraint: &Constraint, path: &str, holds: bool) {
        if !holds {
            self.0.push(FieldError {
                field: format!("{path}{}", constraint.at),
                problem: constraint.problem.to_owned(),
                remedy: constraint.remedy.to_owned(),
            });
        }
    }

    /// Checks a text against a pattern constraint.
    pub(crate) fn text(&mut self, constraint: &Constraint, path: &str, text: &str) {
        // Another condition, or a pattern that does not compile, counts as violated: never let through what was not checked.
        let holds = match constraint.condition {
            Condition::Matches(pattern) => {
                Regex::new(pattern).is_ok_and(|regex| regex.is_match(text))
            }
            Condition::Cel(_) | Condition::Between(..) => false,
        };
        self.require(constraint, path, holds);
    }

    /// Checks a duration against its bounds.
    pub(crate) fn duration(&mut self, constraint: &Constraint, path: &str, value: &DurationString) {
        let bound = |text: &str| DurationString::parse(text).map(|bound| bound.get());
        let holds = match constraint.condition {
            Condition::Between(min, max) => match (bound(min), bound(max)) {
                (Ok(min), Ok(max)) => within(value.get(), min, max),
                _ => false,
            },
            Condition::Cel(_) | Condition::Matches(_) => false,
        };
        self.require(constraint, path, holds);
    }

    pub(crate) fn push(&mut self, error: FieldError) {
        self.0.push(error);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_result(self) -> Result<(), Vec<FieldError>> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(self.0)
        }
    }
}

fn within(value: Duration, min: Duration, max: Duration) -> bool {
    min <= value && value <= max
}
