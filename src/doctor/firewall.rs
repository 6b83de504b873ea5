//! Hints at a firewall of the box that refuses visitors, as far as its files tell without being root.

use super::Seen;
use super::facts::FirewallRules as Rules;
use crate::host::FirewallFiles;
use crate::wire::doctor::{Area, Examined};

/// The one check.
pub(super) fn examine(files: &FirewallFiles) -> Examined {
    let check = Seen {
        area: Area::Firewall,
        what: "Firewall of the box",
        why: "One that refuses ports 80 and 443 keeps visitors and the certificate authority out.",
    };
    let ufw_on = files.ufw.as_deref().is_some_and(|text| {
        let lines = text.lines().map(str::trim);
        lines
            .into_iter()
            .any(|l| l.eq_ignore_ascii_case("ENABLED=yes"))
    });
    if ufw_on {
        let allow = "Let them in: sudo ufw allow 80,443/tcp.";
        return match &files.ufw_rules {
            Rules::Text(text) if lets_in(text) => check.ok("ufw is on, and lets 80 and 443 in"),
            Rules::Text(_) => check.warn("ufw is on, and has no rule for 80 and 443", allow),
            Rules::Hidden | Rules::Absent => check.warn(
                "ufw is on; its rules are for root alone to read",
                format!("See whether 80 and 443 are let in: sudo ufw status. {allow}"),
            ),
        };
    }
    let kept = [
        (
            &files.nftables,
            "/etc/nftables.conf",
            "sudo nft list ruleset",
        ),
        (
            &files.iptables,
            "/etc/iptables/rules.v4",
            "sudo iptables -S INPUT",
        ),
    ];
    for (rules, file, show) in kept {
        let Rules::Text(text) = rules else { continue };
        if refuses(text) && !lets_in(text) {
            return check.warn(
                format!("{file} refuses what it does not name, and names neither 80 nor 443"),
                format!(
                    "See what holds now: {show}; add rules that accept tcp 80 and 443 to {file}."
                ),
            );
        }
    }
    check.ok("none is set to refuse 80 and 443, as far as files tell; a provider's own is not seen from here")
}

/// A policy of dropping on the way in.
fn refuses(text: &str) -> bool {
    active(text).any(|line| {
        line.starts_with(":INPUT DROP")
            || line.starts_with(":INPUT REJECT")
            || (line.contains("hook input") && line.contains("policy drop"))
    })
}

/// A rule for both ports, in the words of nft, iptables or ufw.
fn lets_in(text: &str) -> bool {
    let named = |port: &str| {
        active(text).any(|line| {
            let accepts = line.to_ascii_lowercase().contains("accept");
            accepts
                && line
                    .split(|c: char| !c.is_ascii_alphanumeric())
                    .any(|word| {
                        word == port
                            || (port == "80" && word == "http")
                            || (port == "443" && word == "https")
                    })
        })
    };
    named("80") && named("443")
}

fn active(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|l| !l.starts_with('#'))
}
