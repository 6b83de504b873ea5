//! Looking at everything of ours at once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use crate::docker::{EngineError, Phase, Restart};

use super::act;
use super::names::{ROW, SPEC};
use super::plan::Found;
use super::shared::Shared;
use super::unit::Seen;

/// What was known of a container: enough to see that nothing changed.
pub(super) type Known = HashMap<String, (Phase, HashMap<String, IpAddr>)>;

/// One container of the list.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) id: String,
    pub(super) row: Option<i64>,
    /// Looked at closely, because it is new or changed.
    pub(super) seen: Option<Seen>,
    /// Enough to remove it, should no row know it.
    pub(super) found: Found,
}

/// Containers that are looked at closely at once.
const AT_ONCE: usize = 4;

/// Lists our containers and looks closely at those that are not as `known`.
pub(super) async fn survey(shared: &Arc<Shared>, known: Known) -> Result<Vec<Sight>, EngineError> {
    let listed = shared
        .engine
        .list_containers(&[shared.names.filter()])
        .await?;
    let looks = listed
        .into_iter()
        .filter(|l| shared.names.is_ours(&l.labels))
        .map(|listed| {
            let unchanged = known
                .get(&listed.id)
                .is_some_and(|(phase, at)| *phase == listed.phase && *at == listed.addresses);
            async move {
                let seen = match unchanged {
                    true => None,
                    false => match act::look(shared, &listed.id).await? {
                        Some(seen) => Some(seen),
                        // Removed between the list and the look.
                        None => return Ok(None),
                    },
                };
                let row = listed.labels.get(ROW).and_then(|r| r.parse().ok());
                Ok(Some(Sight {
                    found: Found {
                        id: listed.id.clone(),
                        row,
                        spec_hash: listed.labels.get(SPEC).cloned().unwrap_or_default(),
                        phase: listed.phase,
                        ended: None,
                        keeper: Restart::No,
                    },
                    id: listed.id,
                    row,
                    seen,
                }))
            }
        });
    let sights: Vec<Result<Option<Sight>, EngineError>> = stream::iter(looks)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    sights.into_iter().filter_map(Result::transpose).collect()
}
