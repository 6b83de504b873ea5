//! Settings: the defaults, the sample, mistakes and edits.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::base::shutdown::{Shutdown, Tasks};

mod routes;

fn load(text: &str) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, text).unwrap();
    Config::load(&file, &folder.path().join("routes.d"))
}

/// The sample with its settings uncommented (the example route left out).
fn sample() -> String {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/config.toml")).unwrap();
    let (settings, _) = text.split_once("# A route to something").unwrap();
    settings
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(set)
                if set
                    .split_once(" = ")
                    .is_some_and(|(key, _)| !key.contains(' ')) =>
            {
                set
            }
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_sample_shows_every_setting_with_its_default() {
    assert_eq!(load(&sample()).unwrap(), Config::default());
    assert_eq!(load("").unwrap(), Config::default());
    let written: toml::Table = toml::from_str(&sample()).unwrap();
    // Every field of the settings stands in the sample: the debug form names them all.
    let shown = format!("{:#?}", Config::default());
    let mut fields = 0;
    let mut section = String::new();
    for line in shown.lines() {
        let depth = line.len() - line.trim_start().len();
        let Some((key, value)) = line.trim().split_once(": ") else {
            continue;
        };
        match depth {
            4 if value.ends_with('{') => section = key.to_owned(),
            4 if key == "routes" => {}
            4 => assert!(written.contains_key(key), "{key}"),
            8 => {
                fields += 1;
                let inside = written[&section].as_table().unwrap();
                assert!(inside.contains_key(key), "{section}.{key}");
            }
            _ => {}
        }
    }
    assert!(fields > 40, "{fields}");
}

/// PRODUCT's table of defaults, row by row.
#[test]
fn the_defaults_are_those_we_promise() {
    let sample: toml::Table = toml::from_str(&sample()).unwrap();
    let promised: &[(&str, &str)] = &[
        ("health.starting_interval", "1s"),
        ("health.interval", "5s"),
        ("health.healthy_after", "1"),
        ("health.unhealthy_after", "3"),
        ("health.start_deadline", "60s"),
        ("drain.replica", "30s"),
        ("drain.daemon", "5s"),
        ("deploy.watch", "60s"),
        ("hold.time", "30s"),
        ("hold.requests", "1000"),
        ("timeouts.header", "10s"),
        ("timeouts.idle", "60s"),
        ("timeouts.connect", "2s"),
        ("timeouts.answer", "60s"),
        ("limits.header_block", "32KB"),
        ("limits.uri", "8KB"),
        ("limits.body", "100MB"),
        ("limits.connections_per_address", "256"),
        ("limits.new_connections_per_address", "64"),
        ("limits.connections", "20000"),
        ("limits.api_reads", "600"),
        ("limits.api_changes", "120"),
        ("build.memory", "half"),
        ("build.cpus", "all"),
        ("build.at_once", "1"),
        ("build.deadline", "30m"),
        ("build.free_disk", "2G"),
        ("build.free_memory", "256M"),
        ("build.upload", "2G"),
        ("build.cache", "3G"),
        ("container.log_size", "10MB"),
        ("container.log_files", "3"),
        ("container.pids", "512"),
        ("container.restart_first", "1s"),
        ("container.restart_longest", "5m"),
        ("container.no_new_privileges", "true"),
        ("deploy.releases_kept", "5"),
        ("database.version", "17"),
        ("database.memory", "512M"),
        ("database.dump_after_hour", "2"),
        ("database.keep_daily", "7"),
        ("database.keep_weekly", "4"),
        ("database.keep_monthly", "12"),
        ("network.subnets", "10.83.0.0/16"),
        ("network.prefix", "26"),
        ("checks.every", "30s"),
        ("checks.rechecks", "2"),
        ("checks.timeout", "10s"),
        ("listen.http", "[::]:80"),
        ("listen.https", "[::]:443"),
        ("docker.host", "unix:///var/run/docker.sock"),
    ];
    for (key, expected) in promised {
        let (section, name) = key.split_once('.').unwrap();
        let found = &sample[section][name];
        let found = found
            .as_str()
            .map_or_else(|| found.to_string(), str::to_owned);
        assert_eq!(&found, expected, "{key}");
    }
    let build = Config::default().build;
    assert!(build.cpu_weight < 100, "builds have a low weight");
    assert_eq!(
        Config::default().container.drop_capabilities,
        ["NET_RAW", "MKNOD"]
    );
}

#[test]
fn f5_a_mistake_names_line_key_and_remedy() {
    let rows: &[(&str, usize, &str, &str)] = &[
        (
            "[listen]\nhtps = \"[::]:1\"",
            2,
            "listen.htps",
            "Did you mean `https`?",
        ),
        ("lisen = 1", 1, "lisen", "Did you mean `listen`?"),
        ("[lisen]\nhttp = 1", 1, "lisen", "Did you mean `listen`?"),
        (
            "[listen]\nhttp = \"80\"",
            2,
            "listen.http",
            "Correct the line",
        ),
        (
            "\n[drain]\nreplica = \"soon\"",
            3,
            "drain.replica",
            "write it like",
        ),
        ("[limits]\nbody = \"1X\"", 2, "limits.body", "write it like"),
        (
            "[timeouts]\nidle = \"0s\"",
            2,
            "timeouts.idle",
            "longer than nothing",
        ),
        (
            "[build]\nat_once = 99",
            2,
            "build.at_once",
            "The default is 1",
        ),
        (
            "[listen]\nhttp = \"[::]:9\"\nhttps = \"[::]:9\"",
            3,
            "listen.https",
            "two different ports",
        ),
        (
            "[docker]\nhost = \"tcp://1.2.3.4:2375\"",
            2,
            "docker.host",
            "unix:///var/run/docker.sock",
        ),
        (
            "[network]\nsubnets = \"8.0.0.0/8\"",
            2,
            "network.subnets",
            "10.83.0.0/16",
        ),
        (
            "[acme]\nca_file = \"root.pem\"",
            2,
            "acme.ca_file",
            "begin it with /",
        ),
        (
            "[dashboard]\nhost = \"https://a.b\"",
            2,
            "dashboard.host",
            "without https://",
        ),
        (
            "[[route]]\nhost = \"a.b\"\nupstream = \"https://x\"",
            3,
            "route.upstream",
            "http://127.0.0.1:9001",
        ),
        (
            "[[route]]\nhost = \"a.b\"\nupstream = \"http://x\"\nhealth = \"up\"",
            4,
            "route.health",
            "/healthz",
        ),
        (
            "[[route]]\nhost = \"a.b\"\nupstream = \"http://x\"\ntls = \"acne\"",
            4,
            "route.tls",
            "\"internal\"",
        ),
        (
            "[[route]]\nhost = \"a.b\"\nstatic = \"www\"",
            1,
            "route",
            "begin it with /",
        ),
        (
            "[[route]]\nhost = \"a.b\"\nstatic = \"/srv/www\"\nupstream = \"http://x\"",
            1,
            "route",
            "remove upstream or static",
        ),
        (
            "[[route]]\nhost = \"a.b\"\nupstream = \"http://x\"\nsingle_page = true",
            1,
            "route",
            "add static",
        ),
        (
            "[[route]]\nhost = \"a.b\"\nupstream = \"http://x\"\npath = \"api\"",
            4,
            "route.path",
            "\"/api\"",
        ),
        (
            "[listen]\nproxy_protocol = \"10.0.0.0/8\"",
            2,
            "listen.proxy_protocol",
            "[\"192.0.2.7\", \"192.168.7.0/24\"]",
        ),
        (
            "[listen]\nproxy_protocol = [\"haproxy\"]",
            2,
            "listen.proxy_protocol",
            "write it like \"192.0.2.7\"",
        ),
        (
            "[listen]\nproxy_protocol = [\n  \"10.0.0.0/8\",\n  \"10.0.0.1/8\",\n]",
            2,
            "listen.proxy_protocol",
            "write \"10.0.0.0/8\"",
        ),
        (
            "[proxies]\ntrusted = [\"cloudfare\"]",
            2,
            "proxies.trusted",
            "for Cloudflare's ranges write \"cloudflare\"",
        ),
        (
            "[proxies]\ntrusted = [\"0.0.0.0/0\"]",
            2,
            "proxies.trusted",
            "name your proxies alone",
        ),
        (
            "[listen]\nproxy_protocol = [\"192.0.2.7\", \"10.0.0.0/8\"]",
            2,
            "listen.proxy_protocol",
            "such as \"192.0.2.7\"",
        ),
        (
            "[proxies]\ntrusted = [\"cloudflare\", \"10.83.4.7\"]",
            2,
            "proxies.trusted",
            "such as \"192.0.2.7\"",
        ),
        (
            "[network]\nsubnets = \"172.20.0.0/16\"\n[proxies]\ntrusted = [\"172.16.0.0/12\"]",
            4,
            "proxies.trusted",
            "which apps have",
        ),
        (
            "[limits]\nnew_connections_per_address = 0",
            2,
            "limits.new_connections_per_address",
            "The default is 64.",
        ),
        (
            "[proxies]\ntrust = []",
            2,
            "proxies.trust",
            "Did you mean `trusted`?",
        ),
        ("[checks]\nevery = 30", 2, "checks.every", ""),
        ("a = = 1", 1, "a", ""),
    ];
    for (text, line, key, remedy) in rows {
        let error = load(text).unwrap_err();
        let shown = error.to_string();
        assert_eq!(error.line, Some(*line), "{shown}");
        assert_eq!(error.key.as_deref(), Some(*key), "{shown}");
        assert!(shown.contains(remedy), "{shown}");
        assert!(shown.contains("config.toml line "), "{shown}");
    }
}

#[test]
fn f5_routes_come_from_both_places() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let routes_d = folder.path().join("routes.d");
    std::fs::create_dir(&routes_d).unwrap();
    std::fs::write(
        &file,
        "[[route]]\nhost = \"a.example.com\"\nupstream = \"http://127.0.0.1:1\"\n",
    )
    .unwrap();
    let write = |name: &str, text: &str| std::fs::write(routes_d.join(name), text).unwrap();
    write(
        "b.toml",
        "[[route]]\nhost = \"b.localhost\"\npath = \"/api/\"\nupstream = \"http://127.0.0.1:2\"\n",
    );
    write(
        "c.toml",
        "[[route]]\nhost = \"c.example.com\"\nupstream = \"http://127.0.0.1:3\"\ntls = { cert = \"/c.pem\", key = \"/k.pem\" }\n",
    );
    write(".c.toml.swp.toml", "not read");
    write("notes.txt", "not read");
    let config = Config::load(&file, &routes_d).unwrap();
    let shown: Vec<_> = config
        .routes
        .iter()
        .map(|r| (r.host.as_str(), r.path.as_str(), &r.tls))
        .collect();
    assert_eq!(shown[0], ("a.example.com", "/", &Tls::Acme));
    assert_eq!(shown[1], ("b.localhost", "/api", &Tls::Internal));
    assert_eq!(
        shown[2].2,
        &Tls::Files {
            cert: "/c.pem".into(),
            key: "/k.pem".into()
        }
    );

    write(
        "d.toml",
        "\n\n[[route]]\nhost = \"A.example.com\"\nupstream = \"http://127.0.0.1:4\"\n",
    );
    let error = Config::load(&file, &routes_d).unwrap_err();
    assert!(error.file.ends_with("d.toml"), "{error}");
    assert_eq!(error.line, Some(3), "{error}");
    assert!(error.what.contains("config.toml line 1"), "{error}");
    write("d.toml", "[listen]\nhttp = \"[::]:1\"\n");
    let error = Config::load(&file, &routes_d).unwrap_err();
    assert!(
        error.file.ends_with("d.toml") && error.line == Some(1),
        "{error}"
    );
}

/// Writes as editors do: a new file put in the old one's place.
fn put(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(&beside, path).unwrap();
}

#[tokio::test]
async fn f5_edits_are_followed_and_a_bad_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let routes_d = folder.path().join("routes.d");
    put(&file, "[hold]\nrequests = 7\n");
    let tasks = Tasks::new(Shutdown::new());
    let first = Arc::new(Config::load(&file, &routes_d).unwrap());
    let mut seen = watch(&file, &routes_d, first, None, &tasks);
    let soon = Duration::from_secs(60);

    put(&file, "[hold]\nrequests = 8\n");
    let change = tokio::time::timeout(soon, seen.changes.recv())
        .await
        .unwrap()
        .unwrap();
    let edits = vec![Edit {
        setting: "hold.requests".into(),
        was: Some("7".into()),
        became: Some("8".into()),
    }];
    assert_eq!(
        change,
        Change::Reloaded {
            waiting: vec![],
            edits
        }
    );
    assert_eq!(seen.settings.borrow().hold.requests, 8);

    put(&file, "[hold]\nrequests = 9\nreqests = 9\n");
    let change = tokio::time::timeout(soon, seen.changes.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(change.kind(), "config.refused");
    assert!(
        change.to_string().contains("config.toml line 3"),
        "{change}"
    );
    assert_eq!(seen.settings.borrow().hold.requests, 8);
    assert!(seen.refused.borrow().is_some());

    put(
        &file,
        "[hold]\nrequests = 8\n[listen]\nhttp = \"[::]:81\"\n",
    );
    let change = tokio::time::timeout(soon, seen.changes.recv())
        .await
        .unwrap()
        .unwrap();
    let Change::Reloaded { waiting, .. } = &change else {
        panic!("{change}");
    };
    assert_eq!(waiting[0].setting, "listen");
    assert!(change.to_string().contains("`freehold reload`"), "{change}");
    assert_eq!(*seen.waiting.borrow(), *waiting);
    assert_eq!(seen.settings.borrow().listen, Listen::default());
    assert!(seen.refused.borrow().is_none());

    // A folder made later is watched from the next look at the files on.
    std::fs::create_dir(&routes_d).unwrap();
    // What is put there while its own making is looked at is seen with it, later by the new watch alone.
    let route = "[[route]]\nhost = \"a.localhost\"\nupstream = \"http://127.0.0.1:1\"\n";
    for round in 0.. {
        put(&routes_d.join("a.toml"), &format!("# {round}\n{route}"));
        let look = tokio::time::timeout(Duration::from_secs(1), seen.changes.recv());
        let reloaded = look.await.is_ok();
        if reloaded && seen.settings.borrow().routes.len() == 1 {
            break;
        }
        assert!(round < 60, "the new folder is not watched");
    }
    assert!(tasks.finish(soon).await);
}

#[tokio::test]
async fn f5_a_mistake_at_the_start_leaves_the_settings_that_were_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let routes_d = folder.path().join("routes.d");
    let good = format!(
        "data_dir = \"{}\" # here\n[hold]\nrequests = 7\n",
        folder.path().display()
    );
    put(&file, &good);
    let bad = format!("{good}reqests = 8\n");
    put(&file, &bad);
    assert!(
        Config::load_or_kept(&file, &routes_d, None).is_err(),
        "nothing was kept yet"
    );

    put(&file, &good);
    let (config, mistake) = Config::load_or_kept(&file, &routes_d, None).unwrap();
    assert_eq!(mistake, None);
    let tasks = Tasks::new(Shutdown::new());
    let _seen = watch(&file, &routes_d, Arc::new(config), None, &tasks);
    for _ in 0..1_200 {
        if folder.path().join("settings.kept").exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(tasks.finish(Duration::from_secs(60)).await);

    put(&file, &bad);
    let (config, mistake) = Config::load_or_kept(&file, &routes_d, None).unwrap();
    assert_eq!(config.hold.requests, 7);
    assert_eq!(mistake.unwrap().line, Some(4));
}
