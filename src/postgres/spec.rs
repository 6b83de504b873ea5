//! From a database to its containers: pure.

use std::time::Duration;

use super::database::Database;
use super::quote;
use crate::supervise::{Health, Kind, Log, Mount, Spec};

/// Every image's socket folder.
const SOCKET_DIR: &str = "/var/run/postgresql";
/// The least a server runs in.
pub(super) const LEAST_MEMORY: u64 = 128 * MIB;
/// The longest first start: `initdb` on a slow disk.
pub(super) const START_DEADLINE: Duration = Duration::from_secs(180);
/// A fast shutdown writes a checkpoint.
const STOP_GRACE: Duration = Duration::from_secs(60);
const MIB: u64 = 1024 * 1024;
/// What a dump or restore needs beside the server.
const SIDE_MEMORY: u64 = 256 * MIB;

/// Where the volume is mounted: where the image itself declares one, so that
/// the engine makes no nameless volume beside ours. Postgres 18's image moved it.
pub(super) fn mount_point(version: u32) -> &'static str {
    if version >= 18 {
        "/var/lib/postgresql"
    } else {
        "/var/lib/postgresql/data"
    }
}

/// The data folder, always said and never left to the image: a folder of its
/// own inside the volume, because `initdb` wants an empty one.
pub(super) fn data_dir(version: u32) -> String {
    format!("{}/pgdata", mount_point(version))
}

/// Settings of a server of this version that fit into `memory` bytes.
pub(super) fn settings(version: u32, memory: u64) -> Vec<(&'static str, String)> {
    let mib = |bytes: u64, least: u64, most: u64| format!("{}MB", (bytes / MIB).clamp(least, most));
    let mut all = vec![
        ("shared_buffers", mib(memory / 4, 16, 8192)),
        ("effective_cache_size", mib(memory / 8 * 5, 32, 65536)),
        ("maintenance_work_mem", mib(memory / 16, 16, 512)),
        ("work_mem", mib(memory / 256, 1, 64)),
        (
            "max_connections",
            if memory < 512 * MIB { "50" } else { "100" }.into(),
        ),
        ("max_wal_size", "512MB".into()),
        ("min_wal_size", "80MB".into()),
        ("random_page_cost", "1.1".into()),
        ("jit", "off".into()),
    ];
    // A query whose client has gone away ends, however long it would take. Before 14 a server that is given it does not start.
    if version >= 14 {
        all.push(("client_connection_check_interval", "10s".into()));
    }
    all.push(("password_encryption", "scram-sha-256".into()));
    all
}

/// The server's container. `initial` is the superuser's password for the
/// image's first start only: an environment is visible to whoever may inspect
/// containers, so another one is set as soon as the server answers.
pub(super) fn server(database: &Database, initial: &str) -> Spec {
    let mut spec = Spec::new(
        Kind::Database,
        database.container(),
        database.subject(),
        &database.image,
    );
    spec.env = [
        ("PGDATA", data_dir(database.version).as_str()),
        ("POSTGRES_PASSWORD", initial),
        ("POSTGRES_HOST_AUTH_METHOD", "scram-sha-256"),
        ("POSTGRES_INITDB_ARGS", "--data-checksums --encoding=UTF8"),
        // A session that eats the memory goes before the server that all the others share
        // (https://www.postgresql.org/docs/17/kernel-resources.html#LINUX-MEMORY-OVERCOMMIT).
        ("PG_OOM_ADJUST_FILE", "/proc/self/oom_score_adj"),
        ("PG_OOM_ADJUST_VALUE", "100"),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .collect();
    let mut command = vec!["postgres".to_owned()];
    for (name, value) in settings(database.version, database.memory_bytes) {
        command.push("-c".into());
        command.push(format!("{name}={value}"));
    }
    spec.command = Some(command);
    spec.networks = vec![database.network()];
    spec.aliases = vec![database.host()];
    spec.volumes = vec![
        mount(database.data_volume(), mount_point(database.version)),
        mount(database.socket_volume(), SOCKET_DIR),
    ];
    spec.memory_bytes = Some(database.memory_bytes);
    spec.shm_bytes = Some((database.memory_bytes / 4).max(64 * MIB));
    spec.port = Some(5432);
    spec.health = Health::Exec(health());
    spec.start_deadline = START_DEADLINE;
    spec.stop_grace = STOP_GRACE;
    // "Fast": waits for no client, but for a checkpoint.
    spec.stop_signal = Some("SIGINT".into());
    spec
}

/// A query over TCP: while the image sets itself up, its temporary server
/// answers on the unix socket only, and must not pass for healthy.
fn health() -> Vec<String> {
    [
        "psql",
        "-X",
        "-q",
        "-A",
        "-t",
        "-w",
        "-h",
        "127.0.0.1",
        "-U",
        "postgres",
        "-d",
        "postgres",
        "-c",
        "SELECT 1",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn mount(volume: String, path: &str) -> Mount {
    Mount {
        volume,
        path: path.to_owned(),
        read_only: false,
        existing: false,
    }
}

/// A container beside the server that runs one of its own tools (`pg_dump`,
/// `pg_restore`): same image, so same version; own memory cap; no log kept,
/// because a dump passes through its output; in through the unix socket.
/// Its sessions in the server carry its name, by which they are found when it is dead ([`application`]).
pub(super) fn side(database: &Database, name: String, argv: Vec<String>, logical: &str) -> Spec {
    let application = application(argv.first().map_or("", String::as_str), &name);
    let mut spec = Spec::new(Kind::Job, name, database.subject(), &database.image);
    spec.entrypoint = Some(Vec::new());
    spec.command = Some(argv);
    spec.env = [
        ("PGHOST", SOCKET_DIR),
        ("PGUSER", "postgres"),
        ("PGDATABASE", logical),
        ("PGCONNECT_TIMEOUT", "10"),
        ("PGAPPNAME", &application),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .collect();
    // One made for it would be left behind by a server that is being removed.
    spec.volumes = vec![Mount {
        existing: true,
        ..mount(database.socket_volume(), SOCKET_DIR)
    }];
    spec.memory_bytes = Some(SIDE_MEMORY);
    spec.nano_cpus = Some(1_000_000_000);
    spec.log = Log::None;
    spec.user = Some("postgres".into());
    spec
}

/// As what the sessions of a tool in the side container called `name` are shown in `pg_stat_activity`.
pub(super) fn application(tool: &str, name: &str) -> String {
    format!("{tool} {name}")
}

/// `psql` inside the server's container, reading statements from its input;
/// fields end with U+001F and rows with U+001E.
pub(super) fn psql(logical: &str) -> Vec<String> {
    let mut argv: Vec<String> = [
        "psql",
        "-X",
        "-q",
        "-A",
        "-t",
        "-w",
        "-F",
        "\u{1f}",
        "-R",
        "\u{1e}",
        "-v",
        "ON_ERROR_STOP=1",
        "-U",
        "postgres",
    ]
    .map(str::to_owned)
    .to_vec();
    argv.push("-d".into());
    argv.push(quote::dbname(logical));
    argv.push("-f".into());
    argv.push("-".into());
    argv
}

/// `psql` for a person.
pub(super) fn shell(logical: &str) -> Vec<String> {
    vec![
        "psql".into(),
        "-U".into(),
        "postgres".into(),
        "-d".into(),
        quote::dbname(logical),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::database::State;
    use super::*;
    use crate::base::clock::UnixMs;
    use crate::base::ids::DatabaseName;

    fn database(version: u32, memory: u64) -> Database {
        Database {
            id: 3,
            name: DatabaseName::parse("main").unwrap(),
            version,
            image: format!("postgres:{version}"),
            memory_bytes: memory,
            state: State::Creating,
            attempt: 1,
            reason: None,
            container_row: None,
            server_version: None,
            ready: None,
            created: UnixMs(0),
        }
    }

    #[test]
    fn f3_pgdata_is_explicit_and_inside_the_named_volume_in_every_version() {
        for version in super::super::version::SUPPORTED {
            let spec = server(&database(version, 512 * MIB), "x");
            let data = spec.env.get("PGDATA").unwrap();
            let volume = &spec.volumes[0];
            assert_eq!(volume.volume, "db-main-3-data");
            assert!(data.starts_with(&format!("{}/", volume.path)), "{data}");
        }
        assert_eq!(mount_point(17), "/var/lib/postgresql/data");
        assert_eq!(mount_point(18), "/var/lib/postgresql");
    }

    #[test]
    fn f3_settings_fit_into_the_memory() {
        for memory in [128, 256, 512, 4096, 65536] {
            let bytes = memory * MIB;
            let value = |name: &str| -> u64 {
                let all = settings(17, bytes);
                let (_, text) = all.iter().find(|(n, _)| *n == name).unwrap();
                text.trim_end_matches("MB").parse().unwrap()
            };
            assert!(value("shared_buffers") * 3 < memory, "{memory}");
            assert!(value("work_mem") * 16 <= memory.max(128), "{memory}");
        }
    }

    #[test]
    fn f3_no_server_is_given_a_setting_that_it_does_not_know() {
        let of = |version| server(&database(version, 512 * MIB), "x").command.unwrap();
        let told = |version| of(version).contains(&"client_connection_check_interval=10s".into());
        assert!(!told(13), "it was added in 14");
        assert!(told(14) && told(18));
    }

    #[test]
    fn f3_no_secret_is_in_an_argument_and_a_query_is_the_health() {
        let spec = server(&database(17, 512 * MIB), "hunter2");
        let argv = spec.command.unwrap().join(" ");
        assert!(!argv.contains("hunter2"));
        let Health::Exec(check) = spec.health else {
            panic!("no query")
        };
        assert!(check.contains(&"SELECT 1".to_owned()));
        assert!(check.contains(&"127.0.0.1".to_owned()));
        assert_eq!(spec.log, Log::Capped);
    }

    #[test]
    fn f6_a_side_container_has_the_servers_image_a_cap_and_no_log() {
        let spec = side(
            &database(17, 512 * MIB),
            "dump-1".into(),
            vec!["pg_dump".into()],
            "tasks",
        );
        assert_eq!(spec.image, "postgres:17");
        assert_eq!(spec.log, Log::None);
        assert_eq!(spec.memory_bytes, Some(SIDE_MEMORY));
        assert_eq!(spec.env["PGAPPNAME"], "pg_dump dump-1");
        assert!(spec.networks.is_empty());
        assert!(!spec.restart);
        assert!(
            spec.volumes[0].existing,
            "no socket without its server is made"
        );
    }
}
