//! `freehold status`: one look at everything.

use clap::Args;

use super::Global;
use super::client::Client;
use super::output::{self, Fail};
use super::status_routes;
use crate::base::clock::UnixMs;
use crate::wire::status::{Finding, Severity, Status};

/// One look at everything
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold status\n  freehold status --json\n  freehold status --routes"
)]
pub struct Arguments {
    /// What passes through the edge instead: by route, process and replica
    #[arg(long)]
    routes: bool,
}

/// Runs `status`.
///
/// # Errors
/// That the daemon cannot be reached.
pub async fn run(client: &Client, global: &Global, arguments: &Arguments) -> Result<(), Fail> {
    if arguments.routes {
        return status_routes::run(client, global).await;
    }
    let status: Status = client.get("/api/v1/status").await?;
    if global.json {
        output::json(&status);
        return Ok(());
    }
    output::line(format!(
        "Freehold {} at {}",
        status.version, status.dashboard
    ));
    if !status.owner {
        output::line("Nobody has set a password yet: sudo freehold user reset prints the link.");
    }
    output::line(match (&status.engine.version, &status.engine.error) {
        (Some(version), _) => format!("Engine {version} at {}", status.engine.host),
        (None, why) => format!(
            "No engine at {}: {}",
            status.engine.host,
            why.as_deref().unwrap_or("no answer")
        ),
    });
    show_apps(&status);
    show_certificates(&status);
    show_findings(&status.findings);
    output::line("");
    output::line(how_to_trust(&status));
    Ok(())
}

/// Where the box's own root lies, by what it is known, and what makes another machine trust it.
fn how_to_trust(status: &Status) -> String {
    [
        &format!("The box's own root certificate: {}", status.root_file),
        &format!("  SHA-256  {}", status.fingerprint),
        "  Trust it on another machine: copy the file there, then",
        "    Debian, Ubuntu   sudo cp FILE /usr/local/share/ca-certificates/freehold.crt && sudo update-ca-certificates",
        "    macOS            sudo security add-trusted-cert -d -k /Library/Keychains/System.keychain FILE",
        "    Windows          certutil -addstore Root FILE",
        "    Firefox          Settings, Certificates, Authorities, Import",
    ]
    .join("\n")
}

fn show_apps(status: &Status) {
    if status.apps.is_empty() {
        return;
    }
    output::line("");
    let mut rows = vec![vec![
        "APP".to_owned(),
        "STATE".to_owned(),
        "WHERE".to_owned(),
    ]];
    rows.extend(
        status
            .apps
            .iter()
            .map(|a| vec![a.name.clone(), a.state.clone(), a.urls.join(" ")]),
    );
    output::table(&rows);
    for app in &status.apps {
        if let Some(died) = &app.died {
            output::line(format!("{}: {died}", app.name));
        }
    }
}

fn show_certificates(status: &Status) {
    if status.certificates.is_empty() {
        return;
    }
    output::line("");
    let now = UnixMs::now().0;
    let mut rows = vec![vec![
        "CERTIFICATE".to_owned(),
        "STATE".to_owned(),
        "LEFT".to_owned(),
    ]];
    rows.extend(status.certificates.iter().map(|c| {
        let left = c.not_after_ms.map_or("-".to_owned(), |end| left(end - now));
        vec![c.host.clone(), c.state.clone(), left]
    }));
    output::table(&rows);
    for certificate in &status.certificates {
        if let Some(pending) = &certificate.pending {
            output::line(format!("{}: {pending}", certificate.host));
        }
    }
}

fn left(ms: i64) -> String {
    match ms / 3_600_000 {
        hours if hours >= 48 => format!("{} days", hours / 24),
        hours if hours >= 1 => format!("{hours} hours"),
        _ if ms > 0 => format!("{} minutes", ms / 60_000),
        _ => "ended".to_owned(),
    }
}

fn show_findings(findings: &[Finding]) {
    for finding in findings {
        let mark = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        output::line("");
        output::line(format!("{mark}: {}", finding.what));
        output::line(format!("  {}", finding.remedy));
    }
}

#[cfg(test)]
mod tests {
    use super::{how_to_trust, left};
    use crate::wire::status::{Engine, Status};

    /// The file and its fingerprint are the box's; each system's command is one that its people can type as it stands.
    #[test]
    fn f5_what_makes_a_machine_trust_the_box_is_said_whole() {
        let status = Status {
            version: "0.1.0".into(),
            installation: "box".into(),
            started_ms: 0,
            dashboard: "https://192.0.2.7".into(),
            owner: true,
            root_file: "/run/freehold/root.pem".into(),
            fingerprint: "AB:CD".into(),
            engine: Engine {
                host: String::new(),
                version: None,
                error: None,
            },
            apps: Vec::new(),
            certificates: Vec::new(),
            findings: Vec::new(),
        };
        let said = how_to_trust(&status);
        let (head, systems) = said.split_once("Trust it on another machine").unwrap();
        assert!(head.starts_with("The box's own root certificate: /run/freehold/root.pem\n"));
        assert!(head.contains("SHA-256  AB:CD"), "{head}");
        // update-ca-certificates takes files of this folder alone, and only with this ending.
        for (system, what) in [
            (
                "Debian, Ubuntu",
                "sudo cp FILE /usr/local/share/ca-certificates/freehold.crt && sudo update-ca-certificates",
            ),
            (
                "macOS",
                "sudo security add-trusted-cert -d -k /Library/Keychains/System.keychain FILE",
            ),
            ("Windows", "certutil -addstore Root FILE"),
            ("Firefox", "Settings, Certificates, Authorities, Import"),
        ] {
            let line = systems.lines().find(|l| l.contains(system)).unwrap();
            let (_, told) = line.split_once(system).unwrap();
            assert_eq!(told.trim_start(), what, "{system}");
        }
    }

    #[test]
    fn what_is_left_is_said_in_one_unit() {
        assert_eq!(left(90 * 86_400_000), "90 days");
        assert_eq!(left(5 * 3_600_000), "5 hours");
        assert_eq!(left(61_000), "1 minutes");
        assert_eq!(left(-1), "ended");
    }
}
