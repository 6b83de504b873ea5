//! A form's field with its label, hint and fault, tied together for screen readers.

use askama::Template;
use askama::filters::HtmlSafe;

/// What is typed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// One line.
    #[default]
    Text,
    /// A secret; never shown again.
    Password,
    /// Many lines.
    Area,
    /// One of `choices`.
    Choice,
    /// A file of the browser's machine; its form is `multipart/form-data`.
    File,
}

/// The field.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "parts/field.html")]
pub struct Field {
    /// Name in the form.
    pub name: &'static str,
    /// Tells its id on the page from those of other forms.
    pub form: String,
    /// What it asks for.
    pub label: String,
    /// What is in it.
    pub value: String,
    /// An example.
    pub placeholder: String,
    /// What to know before typing.
    pub hint: String,
    /// What is wrong with what was typed, and what to type instead.
    pub fault: String,
    /// How it is typed.
    pub kind: Kind,
    /// Must be given.
    pub required: bool,
    /// Names, hosts and commands: monospace, no spelling.
    pub code: bool,
    /// The browser's `autocomplete` token.
    pub autocomplete: &'static str,
    /// Endings of files, for [`Kind::File`].
    pub accept: &'static str,
    /// Value and label, for [`Kind::Choice`].
    pub choices: Vec<(String, String)>,
}

impl HtmlSafe for Field {}

impl Field {
    /// A line of text.
    pub fn text(name: &'static str, label: &str) -> Self {
        Self {
            name,
            label: label.to_owned(),
            autocomplete: "off",
            ..Self::default()
        }
    }

    /// A name, host, command or figure.
    pub fn code(name: &'static str, label: &str) -> Self {
        Self {
            code: true,
            ..Self::text(name, label)
        }
    }

    /// A password: `autocomplete` is `current-password`, `new-password` or `off`.
    pub fn password(name: &'static str, label: &str, autocomplete: &'static str) -> Self {
        Self {
            kind: Kind::Password,
            required: true,
            autocomplete,
            ..Self::text(name, label)
        }
    }

    /// One of some values.
    pub fn choice(name: &'static str, label: &str, choices: Vec<(String, String)>) -> Self {
        Self {
            kind: Kind::Choice,
            choices,
            ..Self::text(name, label)
        }
    }

    /// A file of a kind, such as `.tar`.
    pub fn file(name: &'static str, label: &str, kind: &'static str) -> Self {
        Self {
            kind: Kind::File,
            accept: kind,
            ..Self::text(name, label)
        }
    }

    /// The same in one of several like forms.
    #[must_use]
    pub fn within(mut self, form: &str) -> Self {
        form.clone_into(&mut self.form);
        self
    }

    /// The same, to be given.
    #[must_use]
    pub fn needed(mut self) -> Self {
        self.required = true;
        self
    }

    /// The same as many lines.
    #[must_use]
    pub fn area(mut self) -> Self {
        self.kind = Kind::Area;
        self
    }

    /// The same with something in it.
    #[must_use]
    pub fn value(mut self, value: impl Into<String>) -> Self {
        self.value = value.into();
        self
    }

    /// The same with an example.
    #[must_use]
    pub fn like(mut self, placeholder: &str) -> Self {
        placeholder.clone_into(&mut self.placeholder);
        self
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The same with a fault; an empty one is none.
    #[must_use]
    pub fn fault(mut self, fault: impl Into<String>) -> Self {
        self.fault = fault.into();
        self
    }

    fn id(&self) -> String {
        match self.form.as_str() {
            "" => self.name.to_owned(),
            form => format!("{form}-{}", self.name),
        }
    }

    fn described_by(&self) -> String {
        let mut ids = Vec::new();
        if !self.fault.is_empty() {
            ids.push(format!("{}-fault", self.id()));
        }
        if !self.hint.is_empty() {
            ids.push(format!("{}-hint", self.id()));
        }
        ids.join(" ")
    }

    fn input_type(&self) -> &'static str {
        match self.kind {
            Kind::Password => "password",
            Kind::File => "file",
            Kind::Text | Kind::Area | Kind::Choice => "text",
        }
    }
}
