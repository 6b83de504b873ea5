//! F9: the box's other tenants. Objects that look like ours but carry another installation's id are planted at the
//! start and are untouched at the end; ours have their own subnets and capped logs.

use std::process::Command;

use crate::app::APP;
use crate::support::freehold::words;
use crate::support::until::{secs, until};
use crate::world::World;

/// Containers, networks, volumes and images of another installation of the same name.
pub struct Neighbours {
    tag: String,
}

impl Neighbours {
    pub fn plant(world: &World) -> Self {
        let tag = format!("fh-neighbour-{}", std::process::id());
        let labels = [
            "--label=freehold.installation=neighbour",
            "--label=freehold.kind=replica",
            "--label=freehold.owner=app:1",
            "--label=freehold.row=1",
        ];
        let planted = |arguments: &[&str], rest: &[&str]| {
            world.docker(&[arguments, &labels[..], rest].concat());
        };
        planted(&["network", "create"], &[&tag]);
        planted(&["volume", "create"], &[&tag]);
        planted(
            &[
                "run",
                "-d",
                "--name",
                &tag,
                "--network",
                &tag,
                "-v",
                &format!("{tag}:/data"),
            ],
            &[
                "busybox:latest",
                "sh",
                "-c",
                "echo kept >/data/file; sleep 86400",
            ],
        );
        planted(
            &["create", "--name", &format!("{tag}-stopped")],
            &["busybox:latest", "true"],
        );
        // An image with the labels of ours, left by a build that failed, as it were.
        let changes = labels.map(|l| l.replacen("--label=", "--change=LABEL ", 1));
        let archive = world.path("neighbour.tar").display().to_string();
        world.docker(&["export", "-o", &archive, &format!("{tag}-stopped")]);
        let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
        let image = format!("{tag}:v1");
        world.docker(
            &[
                &["import"][..],
                &changes,
                &[archive.as_str(), image.as_str()],
            ]
            .concat(),
        );
        Self { tag }
    }

    /// Everything that can be said of them.
    pub fn census(&self, world: &World) -> String {
        let tag = &self.tag;
        [
            world.docker(&[
                "inspect",
                "--format",
                "{{.Id}} {{.State.StartedAt}} {{.State.Status}}",
                tag,
                &format!("{tag}-stopped"),
            ]),
            world.docker(&[
                "network",
                "inspect",
                "--format",
                "{{.Id}} {{len .Containers}}",
                tag,
            ]),
            world.docker(&[
                "volume",
                "inspect",
                "--format",
                "{{.Name}} {{.CreatedAt}}",
                tag,
            ]),
            world.docker(&[
                "image",
                "inspect",
                "--format",
                "{{.Id}}",
                &format!("{tag}:v1"),
            ]),
            world.docker(&["exec", tag, "cat", "/data/file"]),
        ]
        .join("\n")
    }

    pub fn remove(&self) {
        let tag = &self.tag;
        for arguments in [
            &["rm", "-f", tag, &format!("{tag}-stopped")][..],
            &["network", "rm", tag],
            &["volume", "rm", tag],
            &["rmi", &format!("{tag}:v1")],
        ] {
            Command::new("docker").args(arguments).output().ok();
        }
    }
}

pub fn f9_neighbours_are_planted(world: &mut World) {
    let neighbours = Neighbours::plant(world);
    let census = neighbours.census(world);
    world.neighbours = Some((neighbours, census));
}

/// The last step: after everything else has run.
pub fn f9_neighbours_are_untouched(world: &mut World) {
    let (neighbours, before) = world.neighbours.as_ref().unwrap();
    assert_eq!(&neighbours.census(world), before);
}

pub fn f9_every_container_of_ours_is_capped(world: &mut World) {
    let format = "{{.HostConfig.LogConfig.Type}} {{json .HostConfig.LogConfig.Config}} pids={{.HostConfig.PidsLimit}} memory={{.HostConfig.Memory}} {{json .HostConfig.SecurityOpt}} {{json .HostConfig.CapDrop}} ports={{len .HostConfig.PortBindings}}";
    let mut seen = 0;
    for id in world.containers("label=freehold.kind") {
        let Some(said) = looked_at(&["inspect", "--format", format, &id]) else {
            continue;
        };
        seen += 1;
        assert!(
            said.starts_with("none") || said.contains("max-size"),
            "{said}"
        );
        assert!(said.contains("pids=512"), "{said}");
        assert!(!said.contains("memory=0"), "{said}");
        assert!(said.contains("no-new-privileges"), "{said}");
        assert!(said.contains("NET_RAW"), "{said}");
        assert!(said.ends_with("ports=0"), "{said}");
    }
    // The app and its database are there all the time.
    assert!(seen >= 2, "only {seen} containers were there to look at");
}

/// What the engine says of one thing it has listed; nothing when that was taken away between the list and the look.
fn looked_at(arguments: &[&str]) -> Option<String> {
    let out = Command::new("docker").args(arguments).output().unwrap();
    let said = words(&out);
    let is_gone = said.to_lowercase().contains("no such") || said.contains("not found");
    assert!(out.status.success() || is_gone, "{arguments:?}: {said}");
    out.status.success().then_some(said)
}

/// `10.1.2.0/24`: its first address as a number, and its length.
fn range(text: &str) -> (u32, u32) {
    let (address, length) = text.split_once('/').unwrap();
    let address: std::net::Ipv4Addr = address.parse().unwrap();
    (address.to_bits(), length.parse().unwrap())
}

/// Each network of ours lies in the configured range.
pub fn f9_networks_come_from_our_own_range(world: &mut World) {
    let id = world.fh.installation();
    let networks = world.docker(&[
        "network",
        "ls",
        "-q",
        "--filter",
        &format!("label=freehold.installation={id}"),
    ]);
    let format = "{{range .IPAM.Config}}{{.Subnet}}{{end}}";
    let look = |network: &str| looked_at(&["network", "inspect", "--format", format, network]);
    let subnets: Vec<String> = networks.split_whitespace().filter_map(look).collect();
    assert!(subnets.len() >= 2, "{subnets:?}");
    for subnet in subnets {
        let ((all, most), (one, length)) = (range(&world.fh.subnets()), range(&subnet));
        assert_eq!(length, 26, "{subnet}");
        let outside = 32 - most;
        assert_eq!(one >> outside, all >> outside, "{subnet}");
    }
}

/// Builds leave at most the releases that rollback needs.
pub fn f9_old_images_are_collected(world: &mut World) {
    let id = world.fh.installation();
    // They are collected behind the end of each deploy.
    until("old images to be collected", secs(120), || {
        let images = world.docker(&[
            "images",
            "-q",
            "--no-trunc",
            "--filter",
            &format!("label=freehold.installation={id}"),
        ]);
        let mut images: Vec<&str> = images.split_whitespace().collect();
        images.sort_unstable();
        images.dedup();
        let kept = images.len();
        (kept <= 7)
            .then_some(())
            .ok_or_else(|| format!("{kept} images of ours are kept"))
    });
    // What a rollback may ask for is there.
    let releases = world.fh.json(&["releases", APP]);
    let kept = releases.as_array().unwrap().iter();
    let kept: Vec<_> = kept.filter(|r| r["kept"] == true).collect();
    assert!(!kept.is_empty(), "{releases:#}");
    for release in kept {
        world.docker(&["image", "inspect", release["image"].as_str().unwrap()]);
    }
}
