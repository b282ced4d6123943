//! The filter, as the rest of the gateway holds it.

use serde_json::Value;

use super::budget::{Steps, TooExpensive};
use super::compile::{FilterError, Program, compile};
use super::document::Document;

/// A compiled filter: conditions that must all hold, or a JSONPath that must select something.
///
/// Compiled once, when a subscription is saved or loaded; shared and evaluated by any number of threads.
#[derive(Debug, Clone)]
pub struct Filter {
    program: Program,
}

/// Whether a filter matched, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Whether it matched. `false` too when the evaluation was given up.
    pub matched: bool,
    /// A sentence: the first condition that failed with the value found, or what held. Values are cut to 100
    /// characters.
    pub because: String,
}

impl Filter {
    /// Compiles the value of `filters`.
    ///
    /// A `Value` has already rounded numbers that fit neither 64 bits nor an `f64`; where the text is at
    /// hand, [`Self::parse`] keeps them.
    ///
    /// # Errors
    /// All mistakes, each with its place.
    pub fn compile(filters: &Value) -> Result<Self, Vec<FilterError>> {
        Self::parse(&filters.to_string())
    }

    /// Compiles the JSON text of `filters`: at most 16 KiB, 64 conditions, 8 regular expressions, and `all`,
    /// `any`, `not` nested 8 deep. `{}` asks for nothing and matches everything.
    ///
    /// # Errors
    /// All mistakes, each with its place.
    pub fn parse(filters: &str) -> Result<Self, Vec<FilterError>> {
        Ok(Self { program: compile(filters)? })
    }

    /// Whether the filter wants an event.
    ///
    /// # Errors
    /// If that takes more than [`super::MAX_STEPS`], or the event's data cannot be looked into.
    pub fn evaluate(&self, document: &Document<'_>) -> Result<bool, TooExpensive> {
        let (root, steps) = (document.root()?, Steps::new());
        match &self.program {
            Program::Conditions(condition) => condition.holds(root, &steps),
            Program::Selects(path) => Ok(!path.visit(root, &steps, &mut |_| Ok(false))?),
        }
    }

    /// Whether the filter wants an event, and why: `` `properties.amount` is 9.99, wanted gte 50 ``.
    #[must_use]
    pub fn explain(&self, document: &Document<'_>) -> Explanation {
        let matched = match self.evaluate(document) {
            Ok(matched) => matched,
            Err(error) => return Explanation { matched: false, because: error.to_string() },
        };
        // Finding the words may cost more steps than finding the answer, which stands all the same.
        let because = self
            .reason(matched, document)
            .unwrap_or_else(|_| if matched { "every condition holds" } else { "a condition does not hold" }.to_owned());
        Explanation { matched, because }
    }

    fn reason(&self, matched: bool, document: &Document<'_>) -> Result<String, TooExpensive> {
        let (root, steps) = (document.root()?, Steps::new());
        Ok(match &self.program {
            Program::Conditions(condition) if matched => condition.success(root, &steps)?.unwrap_or_default(),
            Program::Conditions(condition) => condition.failure(root, &steps)?.unwrap_or_default(),
            Program::Selects(path) => {
                let mut found = None;
                path.visit(root, &steps, &mut |node| {
                    found = Some(node.excerpt(100));
                    Ok(false)
                })?;
                found.map_or_else(|| format!("`{path}` selects nothing"), |value| format!("`{path}` selects {value}"))
            }
        })
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
