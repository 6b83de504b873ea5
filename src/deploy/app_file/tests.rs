//! What the file may say, and what it is told where it is wrong.
use super::*;
use crate::deploy::row::Facing;

const PRODUCT: &str = r#"
[build]
dockerfile = "Dockerfile"
[processes.web]
port = 3000                      # also given to the container as PORT
health = "/healthz"
replicas = { min = 1, max = 4 }
memory = "512M"
cpus = 0.5
[processes.worker]
command = "node worker.js"
[cron.nightly]
schedule = "0 3 * * *"
command = "node report.js"
[deploy]
release = "npm run migrate"
drain = "30s"
[volumes]
uploads = "/app/uploads"
"#;

#[test]
fn f4_the_files_own_example_is_understood() {
    let file = AppFile::parse(PRODUCT).unwrap();
    let web = &file.processes["web"];
    assert_eq!((web.port, web.min, web.max), (Some(3000), 1, 4));
    assert_eq!(web.memory_bytes, Some(512 << 20));
    assert_eq!(web.nano_cpus, Some(500_000_000));
    let worker = file.processes["worker"].command.clone().unwrap();
    assert_eq!(worker, ["node", "worker.js"]);
    assert_eq!(file.release.clone().unwrap(), ["npm", "run", "migrate"]);
    assert_eq!(file.drain(Duration::ZERO), Duration::from_secs(30));
    assert_eq!(file.volumes["uploads"], "/app/uploads");
    assert_eq!(file.cron, ["nightly"]);
    let back: AppFile = serde_json::from_str(&serde_json::to_string(&file).unwrap()).unwrap();
    assert_eq!(back, file);
}

/// As it is stored with a release: one that says nothing of it has none, and one that cannot be read neither.
#[test]
fn e5_the_release_says_how_many_requests_a_replica_takes_at_once() {
    let text = "[processes.web]\nconcurrency = 20\n[processes.api]\nport = 1\n";
    let stored = serde_json::to_string(&AppFile::parse(text).unwrap()).unwrap();
    let facing = Facing::of(&stored);
    assert_eq!(facing["web"].concurrency, Some(20));
    assert_eq!(facing["api"].concurrency, None);
    let older = stored.replace(r#","concurrency":20"#, "");
    assert_ne!(older, stored);
    assert_eq!(Facing::of(&older)["web"].concurrency, None);
    assert_eq!(Facing::of("{").get("web").and_then(|f| f.concurrency), None);
}

#[test]
fn f4_the_sample_apps_file_is_understood() {
    let text = include_str!("../../../examples/tasks-api/freehold.toml");
    assert_eq!(
        AppFile::parse(text).unwrap().processes["web"].port,
        Some(8000)
    );
}

#[test]
fn f4_without_a_file_there_is_one_web_process_on_the_images_port() {
    let mut file = AppFile::parse("").unwrap();
    assert_eq!(file, AppFile::default());
    file.settle_port(&[8080, 9090]);
    assert_eq!(file.processes["web"].port, Some(8080));
    file.settle_port(&[1]);
    assert_eq!(file.processes["web"].port, Some(8080));
}

#[test]
fn e6_policies_are_kept_with_a_release_and_a_password_is_not() {
    let text = "[processes.web.route]\nhsts = true\nallow = [\"10.0.0.0/8\"]\n\
            basic_auth = { users = [{ name = \"ana\", password = \"hunter2\" }] }\n";
    let mut file = AppFile::parse(text).unwrap();
    file.take_in(&VerifierKey::new(b"key"));
    let stored = serde_json::to_string(&file).unwrap();
    assert!(stored.contains("verifier") && !stored.contains("hunter2"));
    let back: AppFile = serde_json::from_str(&stored).unwrap();
    assert_eq!(back, file);
    assert_eq!(back.processes["web"].route.allow.len(), 1);
    assert_eq!(
        Facing::of(&stored)["web"].policies,
        back.processes["web"].route
    );
    // Policies that a later version cannot read take the process away, not its guard.
    let odd = stored.replace("10.0.0.0/8", "here");
    assert!(Facing::of(&odd).is_empty());
    // One without policies is stored as ever.
    let none = serde_json::to_string(&AppFile::default()).unwrap();
    assert!(!none.contains("route"), "{none}");
}

#[test]
fn f4_a_mistake_names_its_line_and_what_to_write() {
    for (text, line, part) in [
        ("[processes.web]\nprot = 3000\n", 2, "prot"),
        ("x = 1", 1, "unknown field"),
        ("\n[processes.web]\nport = 70000", 3, "1 to 65535"),
        (
            "[processes.web]\nport = \"3000\"",
            2,
            "number without quotes",
        ),
        (
            "[processes.web]\nreplicas = { min = 4, max = 1 }",
            2,
            "min not above max",
        ),
        ("[processes.web]\nreplicas = \"2\"", 2, "number of replicas"),
        ("[processes.Web]\nport = 1", 1, "name of a process"),
        ("[processes.web]\nhealth = \"healthz\"", 2, "/healthz"),
        ("[processes.w]\nhealth = \"/h\"", 2, "add `port`"),
        ("[processes.web]\nmemory = \"lots\"", 2, "not a size"),
        ("[processes.web]\ncpus = 0", 2, "0.01"),
        ("[deploy]\nrelease = \"a && b\"", 2, "[\"sh\", \"-c\""),
        ("[deploy]\nrelease = \"'a\"", 2, "not closed"),
        ("[deploy]\n\ndrain = \"soon\"", 3, "not a duration"),
        ("[volumes]\nup = \"relative\"", 2, "absolute path"),
        ("[build]\ndockerfile = \"../x\"", 2, "inside the repository"),
        (
            "[cron.x]\nschedule = \"daily\"\ncommand = \"a\"",
            2,
            "five fields",
        ),
        ("[processes.web]\nstart_deadline = \"1h\"", 2, "1s to 10m"),
        ("[processes.web]\nconcurrency = 0", 2, "1 to 10000"),
        ("[processes.web.route]\nhsts = 1", 2, "true, false"),
        (
            "[processes.web.route]\nhsts = true\n\nbody_limit = \"much\"",
            4,
            "not a size",
        ),
        (
            "[processes.web.route]\nanswer_headers = { set = { host = \"x\" } }",
            2,
            "remove this rule",
        ),
        ("[build\n", 1, ""),
        (
            "[build]\nstatic = \"/var/www\"",
            2,
            "path inside the repository",
        ),
        (
            "[build]\nstatic = \"dist\"\ndockerfile = \"Dockerfile\"",
            2,
            "remove it, or dockerfile",
        ),
        (
            "[processes.web]\nport = 80\n[processes.web.route]\nstatic = \"docs\"",
            3,
            "under [build]",
        ),
        (
            "[build]\nstatic = \"dist\"\n[processes.web.route]\nstatic = \"../etc\"",
            4,
            "docs/en",
        ),
        ("[build]\nsingle_page = true", 2, "add static"),
        (
            "[build]\nstatic = \"dist\"\n[processes.web]\nport = 80",
            3,
            "no containers",
        ),
        (
            "[build]\nstatic = \"dist\"\n[processes.worker]\ncommand = \"x\"",
            3,
            "no containers",
        ),
        (
            "[build]\nstatic = \"dist\"\n[deploy]\nrelease = \"migrate\"",
            4,
            "no containers",
        ),
        (
            "[build]\nstatic = \"dist\"\n[volumes]\na = \"/a\"",
            4,
            "no containers",
        ),
    ] {
        let mistake = AppFile::parse(text).unwrap_err();
        assert_eq!(mistake.line, line, "{text}: {mistake}");
        assert!(mistake.why.contains(part), "{text}: {mistake}");
    }
}

#[test]
fn e7_an_app_says_which_of_its_requests_are_logged() {
    let share = |text: &str| AppFile::parse(text).unwrap().access_log;
    assert_eq!(share(""), None);
    assert_eq!(share("access_log = \"off\""), Some(LogShare::OFF));
    assert_eq!(share("access_log = 0.1"), LogShare::part(0.1).ok());
    let wrong = AppFile::parse("\naccess_log = \"on\"").unwrap_err();
    assert_eq!(wrong.line, 2);
    assert!(wrong.why.contains("such as 0.1"), "{wrong}");
    // A release stored before there was such a thing, and one that says it.
    let stored = serde_json::to_string(&AppFile::default()).unwrap();
    assert!(!stored.contains("access_log"), "{stored}");
    let file = AppFile {
        access_log: Some(LogShare::OFF),
        ..AppFile::default()
    };
    let stored = serde_json::to_string(&file).unwrap();
    assert_eq!(serde_json::from_str::<AppFile>(&stored).unwrap(), file);
}

/// Releases of before have no such key, and those that need none do not get it.
#[test]
fn e2_a_process_says_that_it_speaks_h2c() {
    let text = "[processes.web]\nport = 50051\nprotocol = \"h2c\"\n[processes.old]\nport = 1\nprotocol = \"http1\"";
    let file = AppFile::parse(text).unwrap();
    assert_eq!(file.processes["web"].protocol, Protocol::H2c);
    assert_eq!(file.processes["old"].protocol, Protocol::Http1);
    let stored = serde_json::to_string(&file).unwrap();
    assert_eq!(stored.matches("\"protocol\":\"h2c\"").count(), 1);
    assert_eq!(stored.matches("protocol").count(), 1);
    assert_eq!(serde_json::from_str::<AppFile>(&stored).unwrap(), file);
}

/// docs/freehold.toml has every key, and is understood as it stands.
#[test]
fn f4_the_documented_file_shows_every_key() {
    let documented = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/freehold.toml"));
    let file = AppFile::parse(documented).unwrap();
    assert_eq!(file.processes["web"].concurrency, Some(100));
    let folder: String = documented
        .lines()
        .filter_map(|line| line.strip_prefix("#     "))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(AppFile::parse(&folder).unwrap().single_page);
    for section in [
        "",
        "[build]",
        "[processes.web]",
        "[cron.nightly]",
        "[deploy]",
    ] {
        let why = AppFile::parse(&format!("{section}\nnone = 1\n"))
            .unwrap_err()
            .why;
        let (_, keys) = why.split_once("expected ").unwrap();
        let keys: Vec<&str> = keys.split('`').skip(1).step_by(2).collect();
        assert!(!keys.is_empty(), "{why}");
        for key in keys {
            let is_there = [
                format!("\n{key} ="),
                format!("\n[{key}"),
                format!(".{key}]"),
                format!(" {key} ="),
            ];
            assert!(
                is_there.iter().any(|w| documented.contains(w)),
                "{key} of {section}"
            );
        }
    }
}
