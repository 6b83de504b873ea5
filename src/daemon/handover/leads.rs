//! Where routes lead, as the one that has the box tells the one that leaves: its edge still has requests, some of which wait
//! for what only the other hears of, the end of a pause or another replica.
//!
//! Only where routes lead is told, not which there are or what is asked of requests: of that the one that leaves keeps to
//! what it knew. So where something else is asked by now, it follows pauses alone: what is guarded there would be open here.
//! It never gives up targets or files for nobody. Whoever is told goes on telling the one before it, for what is told is
//! what the edge here serves.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::wire::{Mouth, Reply};
use crate::base::clock::UnixMs;
use crate::base::secret::sha256_hex;
use crate::proxy::{
    Address, EdgeHandle, Protocol, Route, RouteSpec, RouteTable, Snapshot, StaticSite, Target,
    Traits, Upstream,
};

/// Routes in one word.
const TOGETHER: usize = 100;

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lead {
    /// Its key.
    pub route: String,
    pub to: To,
    /// What is asked of requests there, as a digest.
    #[serde(default)]
    pub asked: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum To {
    Paused {
        since: UnixMs,
        until: UnixMs,
    },
    Targets(Vec<Goal>),
    Files {
        folder: PathBuf,
        below: String,
        single_page: bool,
    },
}

/// A target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goal {
    pub key: String,
    pub at: At,
    pub protocol: Protocol,
    pub cap: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum At {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl To {
    fn of(upstream: &Upstream) -> Self {
        match upstream {
            Upstream::Paused { since, until } => Self::Paused {
                since: *since,
                until: *until,
            },
            Upstream::Targets(targets) => {
                Self::Targets(targets.iter().map(|target| Goal::of(target)).collect())
            }
            Upstream::Static(site) => Self::Files {
                folder: site.folder().to_owned(),
                below: site.below().to_owned(),
                single_page: site.is_single_page(),
            },
        }
    }

    fn is_nobody(&self) -> bool {
        matches!(self, Self::Targets(all) if all.is_empty())
    }

    /// The same for an edge that follows `before`; nothing where it cannot be had. May read a folder, which takes its time.
    fn upstream(self, before: &Snapshot) -> Option<Upstream> {
        Some(match self {
            Self::Paused { since, until } => Upstream::Paused { since, until },
            Self::Targets(all) => {
                Upstream::Targets(all.into_iter().map(|goal| goal.target(before)).collect())
            }
            Self::Files {
                folder,
                below,
                single_page,
            } => match StaticSite::read(&folder, single_page, None) {
                Ok(site) => Upstream::Static(Arc::new(site.shown(&below, single_page))),
                Err(error) => {
                    tracing::warn!("{error}; what waits for it at the edge that leaves waits on");
                    return None;
                }
            },
        })
    }
}

impl Goal {
    fn of(target: &Target) -> Self {
        let Traits { protocol, cap } = target.traits();
        Self {
            key: target.key().to_string(),
            at: match target.address() {
                Address::Tcp(address) => At::Tcp(*address),
                Address::Unix(path) => At::Unix(path.clone()),
            },
            protocol,
            cap,
        }
    }

    fn target(self, before: &Snapshot) -> Arc<Target> {
        let traits = Traits {
            protocol: self.protocol,
            cap: self.cap,
        };
        let address = match self.at {
            At::Tcp(address) => Address::Tcp(address),
            At::Unix(path) => Address::Unix(path),
        };
        let kept = before.target(&self.key, &address, traits);
        kept.unwrap_or_else(|| Target::with(self.key, address, traits))
    }
}

/// Where all routes lead.
fn all(snapshot: &Snapshot) -> Vec<Lead> {
    let of = |route: &Arc<Route>| Lead {
        route: route.spec.key.to_string(),
        to: To::of(&route.spec.upstream),
        asked: asked(route),
    };
    snapshot.all_routes().map(of).collect()
}

/// A digest of the policies. Two that differ in a password alone look alike: either guards.
fn asked(route: &Route) -> String {
    let (path, policies) = (&route.spec.path_prefix, &route.spec.policies);
    sha256_hex(format!("{path} {policies:?}").as_bytes())
}

/// Tells whoever leaves where routes lead, again and again until it is gone, and of the hurry there may be.
pub async fn tell(
    mut mouth: Mouth,
    edge: EdgeHandle,
    mut hurry: watch::Receiver<Option<Duration>>,
) {
    let mut published = edge.published();
    let mut told: HashMap<String, (To, String)> = HashMap::new();
    let mut is_hurried = false;
    loop {
        published.mark_unchanged();
        let within = *hurry.borrow_and_update();
        if let Some(within) = within.filter(|_| !is_hurried) {
            is_hurried = true;
            let millis = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
            if mouth.say(&Reply::Hurry(millis)).await.is_err() {
                return;
            }
        }
        let leads = all(&edge.snapshot());
        let news = leads.into_iter().filter(|lead| {
            let before = told.get(&lead.route);
            before.is_none_or(|(to, asked)| *to != lead.to || *asked != lead.asked)
        });
        let news: Vec<Lead> = news.collect();
        for some in news.chunks(TOGETHER) {
            if mouth.say(&Reply::Leads(some.to_vec())).await.is_err() {
                return;
            }
        }
        let news = news.into_iter();
        told.extend(news.map(|lead| (lead.route, (lead.to, lead.asked))));
        let next = tokio::select! {
            changed = published.changed() => changed,
            changed = hurry.changed() => changed,
        };
        if next.is_err() {
            return;
        }
    }
}

/// Has the edge serve what was told, where that is another thing than it does.
pub async fn follow(edge: &EdgeHandle, told: Vec<Lead>) {
    let before = edge.snapshot();
    let changed: Vec<Lead> = told
        .into_iter()
        .filter(|lead| {
            let known = before.route(&lead.route);
            known.is_some_and(|route| {
                let now = To::of(&route.spec.upstream);
                let is_pause = |to: &To| matches!(to, To::Paused { .. });
                let gives_up = lead.to.is_nobody() && !is_pause(&now);
                let may = is_pause(&lead.to) || lead.asked == asked(route);
                now != lead.to && may && !gives_up
            })
        })
        .collect();
    if changed.is_empty() {
        return;
    }
    let next = tokio::task::spawn_blocking(move || next(&before, changed)).await;
    match next {
        Ok(next) => edge.publish(Arc::new(next)),
        Err(error) => {
            tracing::error!(%error, "what the one that has the box told cannot be served")
        }
    }
}

/// The snapshot after `before`, of which these routes lead elsewhere.
fn next(before: &Snapshot, changed: Vec<Lead>) -> Snapshot {
    let mut elsewhere: HashMap<String, Upstream> = HashMap::new();
    // Routes of one app share their targets.
    let mut fresh: HashMap<(String, Address, Traits), Arc<Target>> = HashMap::new();
    for lead in changed {
        let Some(mut upstream) = lead.to.upstream(before) else {
            continue;
        };
        if let Upstream::Targets(targets) = &mut upstream {
            for target in targets {
                let is = (
                    target.key().to_string(),
                    target.address().clone(),
                    target.traits(),
                );
                let known = fresh.entry(is).or_insert_with(|| target.clone());
                *target = known.clone();
            }
        }
        elsewhere.insert(lead.route, upstream);
    }
    let mut made = |route: &Arc<Route>| match elsewhere.remove(&*route.spec.key) {
        None => route.clone(),
        Some(upstream) => {
            let spec = RouteSpec {
                upstream,
                ..route.spec.clone()
            };
            Route::new(spec, before)
        }
    };
    let default_route = before.default_route.as_ref().map(&mut made);
    Snapshot {
        generation: before.generation + 1,
        routes: RouteTable::new(before.routes.iter().map(made).collect::<Vec<_>>()),
        certificates: before.certificates.clone(),
        default_certificate: before.default_certificate.clone(),
        default_route,
        challenges: before.challenges.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::{Edge, Limits, Listeners};

    fn route(key: &str, upstream: Upstream) -> Arc<Route> {
        let spec = RouteSpec {
            key: key.into(),
            group: "app:1".into(),
            host: format!("{key}.test").into(),
            path_prefix: "/".into(),
            upstream,
            ..RouteSpec::default()
        };
        Route::new(spec, &Snapshot::default())
    }

    fn guarded(key: &str, upstream: Upstream) -> Arc<Route> {
        let asked = toml::from_str("allow = [\"10.0.0.0/8\"]").unwrap();
        let verifiers = crate::base::policies::VerifierKey::new(b"key");
        let spec = RouteSpec {
            policies: Arc::new(crate::proxy::Policies::compile(&asked, &verifiers)),
            ..route(key, upstream).spec.clone()
        };
        Route::new(spec, &Snapshot::default())
    }

    fn replica(port: u16) -> Arc<Target> {
        let traits = Traits {
            cap: Some(7),
            ..Traits::default()
        };
        let address = Address::Tcp(([127, 0, 0, 1], port).into());
        Target::with("replica:1", address, traits)
    }

    fn paused() -> Upstream {
        Upstream::Paused {
            since: UnixMs(1),
            until: UnixMs(9),
        }
    }

    fn edge(routes: Vec<Arc<Route>>) -> Edge {
        let (failures, _) = tokio::sync::mpsc::channel(1);
        let first = Snapshot {
            generation: 3,
            routes: RouteTable::new(routes),
            ..Snapshot::default()
        };
        let none = Listeners::default();
        Edge::start_closed(none, Arc::new(first), Limits::default(), failures).unwrap()
    }

    fn leads_to(edge: &Edge, key: &str) -> To {
        To::of(&edge.snapshot().route(key).unwrap().spec.upstream)
    }

    #[tokio::test]
    async fn n4_an_edge_that_leaves_learns_where_routes_lead_and_keeps_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("index.html"), "here").unwrap();
        let site = StaticSite::read(folder.path(), true, None).unwrap();
        let (new, kept) = (replica(81), replica(80));
        let has_it = edge(vec![
            route("a", Upstream::Targets(vec![new.clone()])),
            route("b", Upstream::Targets(vec![new])),
            route(
                "files",
                Upstream::Static(Arc::new(site.shown("below", true))),
            ),
            route("kept", Upstream::Targets(vec![kept.clone()])),
            route("gone", Upstream::Targets(vec![])),
            route("unknown", Upstream::Targets(vec![])),
            guarded("open", Upstream::Targets(vec![replica(82)])),
            route("read", Upstream::Targets(vec![])),
        ]);
        let leaves = edge(vec![
            route("a", paused()),
            route("b", paused()),
            route("files", paused()),
            route("kept", Upstream::Targets(vec![kept.clone()])),
            route("gone", Upstream::Targets(vec![kept.clone()])),
            route("open", Upstream::Targets(vec![kept.clone()])),
            route("read", Upstream::Static(Arc::new(site.shown("", true)))),
        ]);
        let told = all(&has_it.snapshot());
        // As it goes over the wire.
        let told = serde_json::to_string(&told).unwrap();
        follow(&leaves, serde_json::from_str(&told).unwrap()).await;
        let snapshot = leaves.snapshot();
        assert_eq!(snapshot.generation, 4);
        for key in ["a", "b", "files", "kept"] {
            assert_eq!(leads_to(&leaves, key), leads_to(&has_it, key), "{key}");
        }
        let first = |key: &str| snapshot.route(key).unwrap().targets()[0].clone();
        assert!(Arc::ptr_eq(&first("a"), &first("b")));
        assert!(Arc::ptr_eq(&first("kept"), &kept));
        // Somebody is better than nobody.
        assert!(Arc::ptr_eq(&first("gone"), &kept));
        // A folder that the other one has not read yet is there all the same.
        assert!(matches!(leads_to(&leaves, "read"), To::Files { .. }));
        // What has a password there is not shown without one here.
        assert!(Arc::ptr_eq(&first("open"), &kept));
        assert!(snapshot.route("unknown").is_none());
        // Said again, it changes nothing.
        follow(&leaves, serde_json::from_str(&told).unwrap()).await;
        assert_eq!(leaves.snapshot().generation, 4);
    }
}
