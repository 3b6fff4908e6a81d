//! Templates and conditions in the language of Jinja, by the `minijinja` crate. A template cannot include another; what is
//! undefined is an error, not an empty text.

use std::fmt;

use minijinja::{Environment, UndefinedBehavior, Value};

/// What one rendering may cost: about so many instructions, or 64 bytes of what it makes for each. So no text that it
/// makes is longer than 3 MB.
const FUEL: u64 = 50_000;

/// The compiled templates of one source.
pub struct Templates {
    environment: Environment<'static>,
    count: usize,
}

/// The number of a template among the [`Templates`] of its source.
#[derive(Debug, Clone)]
pub struct Template(String);

/// The text of a condition that compiles.
#[derive(Debug, Clone)]
pub struct Condition(String);

impl Default for Templates {
    fn default() -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        Self {
            environment,
            count: 0,
        }
    }
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} templates", self.count)
    }
}

impl Templates {
    /// Compiles a template.
    ///
    /// # Errors
    /// Says what is wrong with it, and in which of its lines if it has several.
    pub fn template(&mut self, text: &str) -> Result<Template, String> {
        let name = self.count.to_string();
        self.count += 1;
        let added = self
            .environment
            .add_template_owned(name.clone(), text.to_owned());
        added.map(|()| Template(name)).map_err(|error| said(&error))
    }

    /// Checks a condition.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn condition(&self, text: &str) -> Result<Condition, String> {
        let compiled = self.environment.compile_expression_owned(text.to_owned());
        compiled
            .map(|_| Condition(text.to_owned()))
            .map_err(|error| said(&error))
    }

    pub(super) fn render(&self, template: &Template, context: &Value) -> Result<String, String> {
        let template = self.environment.get_template(&template.0);
        template
            .and_then(|template| template.render(context.clone()))
            .map_err(|error| said(&error))
    }

    /// Compiled again: what the crate compiles cannot be kept beside its environment, and this takes microseconds.
    pub(super) fn holds(&self, condition: &Condition, context: &Value) -> Result<bool, String> {
        let compiled = self
            .environment
            .compile_expression_owned(condition.0.clone());
        compiled
            .and_then(|condition| condition.eval(context.clone()))
            .map(|value| value.is_true())
            .map_err(|error| said(&error))
    }
}

fn said(error: &minijinja::Error) -> String {
    let line = error
        .line()
        .map_or(String::new(), |line| format!("line {line}: "));
    match error.detail() {
        Some(detail) => format!("{line}{}: {detail}", error.kind()),
        None => format!("{line}{}", error.kind()),
    }
}
