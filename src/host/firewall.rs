//! The files from which firewalls of the box are set at its start.

use std::io::ErrorKind;
use std::path::Path;

/// A file of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Rules {
    /// There is none.
    #[default]
    Absent,
    /// There is one, for root alone.
    Hidden,
    /// Its text.
    Text(String),
}

/// The files, below `/etc`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirewallFiles {
    /// `ufw/ufw.conf`
    pub ufw: Option<String>,
    /// `ufw/user.rules`
    pub ufw_rules: Rules,
    /// `nftables.conf`
    pub nftables: Rules,
    /// `iptables/rules.v4`
    pub iptables: Rules,
}

/// No file of rules is read further than this.
const LONGEST: u64 = 1 << 20;

impl FirewallFiles {
    /// Those below `etc`.
    pub fn read(etc: &Path) -> Self {
        Self {
            ufw: match rules(&etc.join("ufw/ufw.conf")) {
                Rules::Text(text) => Some(text),
                Rules::Absent | Rules::Hidden => None,
            },
            ufw_rules: rules(&etc.join("ufw/user.rules")),
            nftables: rules(&etc.join("nftables.conf")),
            iptables: rules(&etc.join("iptables/rules.v4")),
        }
    }
}

fn rules(path: &Path) -> Rules {
    use std::io::Read as _;
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|f| f.take(LONGEST).read_to_string(&mut text));
    match read {
        Ok(_) => Rules::Text(text),
        Err(e) if e.kind() == ErrorKind::NotFound => Rules::Absent,
        Err(_) => Rules::Hidden,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a7_rules_are_a_text_or_not_there() {
        let etc = tempfile::tempdir().unwrap();
        assert_eq!(FirewallFiles::read(etc.path()), FirewallFiles::default());
        std::fs::create_dir(etc.path().join("ufw")).unwrap();
        std::fs::write(etc.path().join("ufw/ufw.conf"), "ENABLED=yes\n").unwrap();
        std::fs::write(etc.path().join("nftables.conf"), "table").unwrap();
        let files = FirewallFiles::read(etc.path());
        assert_eq!(files.ufw.as_deref(), Some("ENABLED=yes\n"));
        assert_eq!(files.nftables, Rules::Text("table".into()));
        assert_eq!(files.iptables, Rules::Absent);
    }
}
