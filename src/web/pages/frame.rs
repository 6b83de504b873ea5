//! What stands around every page: title, navigation, theme, and the sentence that answers the
//! last action.

use super::parts::Tone;
use crate::users::{Grant, Role};

/// The part of the dashboard a page belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Overview and the apps.
    Overview,
    /// Databases and their backups.
    Databases,
    /// The box.
    Box,
    /// Checks and incidents.
    Checks,
    /// Settings.
    Settings,
    /// One's own password and sessions.
    Account,
}

impl Section {
    /// All, as they stand in the navigation: section, address, word.
    pub const ALL: [(Self, &'static str, &'static str); 5] = [
        (Self::Overview, "/", "Overview"),
        (Self::Databases, "/databases", "Databases"),
        (Self::Box, "/box", "Box"),
        (Self::Checks, "/checks", "Checks"),
        (Self::Settings, "/settings", "Settings"),
    ];
}

/// Light, dark, or what the system says. Kept in a cookie, so that it needs no script.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// What the system says.
    #[default]
    Auto,
    /// Always light.
    Light,
    /// Always dark.
    Dark,
}

impl Theme {
    /// All, with their words.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::Auto, "Auto"),
        (Self::Light, "Light"),
        (Self::Dark, "Dark"),
    ];

    /// Its name in the cookie, the form and the page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// Anything unknown is Auto.
    pub fn parse(text: &str) -> Self {
        match text {
            "light" => Self::Light,
            "dark" => Self::Dark,
            _ => Self::Auto,
        }
    }
}

/// The answer to the last action, shown once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flash {
    /// Whether it went well.
    pub tone: Tone,
    /// A sentence.
    pub text: String,
}

/// The frame of one page.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Of the page, for the browser's tab.
    pub title: String,
    /// Marked in the navigation.
    pub section: Option<Section>,
    /// Pages above this one: address and word.
    pub crumbs: Vec<(String, String)>,
    /// Light or dark.
    pub theme: Theme,
    /// The answer to the last action.
    pub flash: Option<Flash>,
    /// Host name of the box.
    pub box_name: String,
    /// Where the theme form returns to.
    pub path: String,
    /// Version of Freehold.
    pub version: &'static str,
    /// Whether its reader knows of the box, and not of some apps alone.
    pub whole: bool,
    /// Whether its reader is in charge of the box.
    pub in_charge: bool,
    /// Whether its reader changes nothing: forms are not shown.
    pub read_only: bool,
    /// Who reads it; empty for nobody.
    pub user: String,
    /// What each form of the page carries: [`crate::web::FormKey`].
    pub form_token: String,
    /// How often, in seconds, the script fetches the page's live parts again; 0 is never.
    pub refresh: u32,
}

impl Frame {
    /// A frame for the page at `path`.
    pub fn new(path: &str) -> Self {
        Self {
            title: String::new(),
            section: None,
            crumbs: Vec::new(),
            theme: Theme::Auto,
            flash: None,
            box_name: String::new(),
            path: path.to_owned(),
            version: env!("CARGO_PKG_VERSION"),
            whole: false,
            in_charge: false,
            read_only: false,
            user: String::new(),
            form_token: String::new(),
            refresh: 0,
        }
    }

    /// The same for a reader who may do this.
    #[must_use]
    pub fn read_by(mut self, user: String, grant: &Grant) -> Self {
        self.whole = grant.sees_box();
        self.in_charge = grant.changes_box();
        self.read_only = grant.role == Role::Viewer;
        self.user = user;
        self
    }

    /// Whether this is the reader's own account.
    pub fn is_account(&self) -> bool {
        self.section == Some(Section::Account)
    }

    /// How the navigation marks `section`: as this very page, as the part it is in, or not at all.
    pub fn mark_of(&self, section: &Section, href: &str) -> Option<&'static str> {
        match self.section.as_ref() == Some(section) {
            true if self.path == href => Some("page"),
            true => Some("true"),
            false => None,
        }
    }

    /// The navigation its reader has: section, address, word.
    pub fn sections(&self) -> &'static [(Section, &'static str, &'static str)] {
        match self.whole {
            true => &Section::ALL,
            false => &Section::ALL[..1],
        }
    }

    /// The same with a title, in a section.
    #[must_use]
    pub fn titled(mut self, title: impl Into<String>, section: Section) -> Self {
        self.title = title.into();
        self.section = Some(section);
        self
    }

    /// The same below another page.
    #[must_use]
    pub fn under(mut self, href: impl Into<String>, word: impl Into<String>) -> Self {
        self.crumbs.push((href.into(), word.into()));
        self
    }

    /// The same with live parts.
    #[must_use]
    pub fn refreshed(mut self, seconds: u32) -> Self {
        self.refresh = seconds;
        self
    }

    /// Address of a static file; changes when the file does, so that it can be kept for ever.
    pub fn asset(&self, name: &str) -> String {
        super::assets::href(name)
    }
}
