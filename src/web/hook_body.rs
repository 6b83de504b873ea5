//! The bodies of webhooks: read before anybody has proven anything, so all of
//! them together never need more memory than [`Room`] gives, however many
//! strangers send at once, and none is waited for longer than [`PATIENCE`].

use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::deploy::hooks::LARGEST_BODY;

/// Read and dropped of a body that is too large, so that its sender hears the answer.
const LARGEST_DROPPED: usize = 64 << 20;
/// Bodies of the largest size that there is room for at once.
const AT_ONCE: usize = 8;
/// Room is given in pieces of this size, as a body grows.
const PIECE: usize = 64 << 10;
/// A body that is not whole by then is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// The memory that bodies may take.
pub struct Room(Semaphore);

impl Default for Room {
    fn default() -> Self {
        Self(Semaphore::new(AT_ONCE * LARGEST_BODY / PIECE))
    }
}

/// What came.
#[derive(Debug)]
pub(super) enum Read<'a> {
    /// All of it; the room is given back with the second part.
    Whole(Vec<u8>, Vec<SemaphorePermit<'a>>),
    /// Larger than any event is.
    TooLarge,
    /// There is no room just now.
    Busy,
    /// It did not end in time.
    Late,
    /// It broke off.
    Broken,
}

/// Reads a body within the room there is.
pub(super) async fn read(room: &Room, body: Body) -> Read<'_> {
    read_within(room, body, PATIENCE).await
}

async fn read_within(room: &Room, body: Body, patience: Duration) -> Read<'_> {
    tokio::time::timeout(patience, read_whole(room, body))
        .await
        .unwrap_or(Read::Late)
}

async fn read_whole(room: &Room, mut body: Body) -> Read<'_> {
    let mut kept = Vec::new();
    let mut taken = Vec::new();
    let (mut size, mut pieces) = (0, 0);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Read::Broken;
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        size += data.len();
        if size > LARGEST_DROPPED {
            break;
        }
        if size > LARGEST_BODY {
            // What was kept is of no use any more, and its room is free at once.
            kept = Vec::new();
            taken = Vec::new();
            continue;
        }
        let needed = size.div_ceil(PIECE);
        if needed > pieces {
            let more = u32::try_from(needed - pieces).unwrap_or(u32::MAX);
            match room.0.try_acquire_many(more) {
                Ok(permit) => taken.push(permit),
                Err(_) => return Read::Busy,
            }
            pieces = needed;
            kept.reserve_exact(pieces * PIECE - kept.len());
        }
        kept.extend_from_slice(&data);
    }
    if size > LARGEST_BODY {
        return Read::TooLarge;
    }
    Read::Whole(kept, taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Bytes;
    use futures_util::StreamExt as _;

    fn of(
        pieces: Vec<usize>,
    ) -> futures_util::stream::BoxStream<'static, Result<Bytes, std::io::Error>> {
        let pieces = pieces.into_iter();
        futures_util::stream::iter(pieces.map(|size| Ok(Bytes::from(vec![b'x'; size])))).boxed()
    }

    /// A body that never ends after what it sends.
    fn held(size: usize) -> Body {
        Body::from_stream(of(vec![1 << 20; size >> 20]).chain(futures_util::stream::pending()))
    }

    #[tokio::test]
    async fn f4_strangers_bodies_take_no_more_memory_than_there_is_room_for() {
        let room = std::sync::Arc::new(Room::default());
        let all = room.0.available_permits();
        let mut strangers = Vec::new();
        for _ in 0..40 {
            let room = std::sync::Arc::clone(&room);
            strangers.push(tokio::spawn(async move {
                matches!(read(&room, held(5 << 20)).await, Read::Busy)
            }));
        }
        let refused = || strangers.iter().filter(|s| s.is_finished()).count();
        for _ in 0..6_000 {
            if refused() >= 40 - AT_ONCE * 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let refused = refused();
        assert!(refused >= 40 - AT_ONCE * 2, "{refused} refused");
        for stranger in &strangers {
            stranger.abort();
        }
        for stranger in strangers {
            drop(stranger.await);
        }
        assert_eq!(room.0.available_permits(), all, "all room is given back");
    }

    #[tokio::test]
    async fn f4_a_body_has_its_room_while_it_is_kept_and_a_small_one_needs_little() {
        let room = Room::default();
        let all = room.0.available_permits();
        match read(&room, Body::from_stream(of(vec![10, 70_000]))).await {
            Read::Whole(body, taken) => {
                assert_eq!((body.len(), room.0.available_permits()), (70_010, all - 2));
                assert!(body.capacity() < 3 * PIECE, "{}", body.capacity());
                drop(taken);
            }
            other => panic!("{other:?}"),
        }
        let large = read(&room, Body::from_stream(of(vec![1 << 20; 6]))).await;
        assert!(matches!(large, Read::TooLarge), "{large:?}");
        assert_eq!(room.0.available_permits(), all);
    }

    #[tokio::test]
    async fn f4_a_body_that_does_not_end_is_given_up() {
        let room = Room::default();
        let late = read_within(&room, held(2 << 20), Duration::from_millis(50)).await;
        assert!(matches!(late, Read::Late), "{late:?}");
        let all = AT_ONCE * LARGEST_BODY / PIECE;
        assert_eq!(room.0.available_permits(), all, "its room is given back");
    }
}
