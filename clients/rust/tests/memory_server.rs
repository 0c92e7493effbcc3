//! What a user's own tests rest on: a memory server, and the operations as futures and streams.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::time::Duration;

use factstr_client::testing::MemoryServer;
use factstr_client::{ConnectOptions, Context, DurableBatch, Error, ErrorKind, Event, EventQuery, Retries, v1};
use futures_core::Stream;
use serde_json::json;
use tokio::sync::oneshot;

/// Fails instead of hanging.
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it is done in time")
}

async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

#[tokio::test]
async fn a_server_is_empty_alone_and_gone_with_its_value() {
    within(async {
        let (one, other) = (MemoryServer::start().unwrap(), MemoryServer::start().unwrap());
        let (first, second) = (
            ConnectOptions::new().retries(Retries::none()).connect(one.target()).unwrap(),
            factstr_client::connect(other.target()).unwrap(),
        );
        first.append(Event::new("noon", ()).unwrap()).await.unwrap();
        assert_eq!(second.read_context(EventQuery::all()).await.unwrap().version, None);
        drop(one);
        let error = first.query(EventQuery::all()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn results_and_streams_are_streams() {
    within(async {
        let server = MemoryServer::start().unwrap();
        let store = factstr_client::connect(server.target()).unwrap();
        store.append([Event::new("a", 1).unwrap(), Event::new("b", 2).unwrap()]).await.unwrap();

        let mut result = store.query(EventQuery::all()).await.unwrap();
        assert_eq!(result.context_version(), Some(2));
        assert_eq!(next(&mut result).await.unwrap().unwrap().event_type, "a");
        assert_eq!(next(&mut result).await.unwrap().unwrap().payload::<u8>().unwrap(), 2);
        assert!(next(&mut result).await.is_none());
        assert!(next(&mut result).await.is_none());

        let mut live = store.stream_all().after(0).await.unwrap();
        assert_eq!(next(&mut live).await.unwrap().unwrap().last_sequence_number, 2);
        let mut durable = store.stream_all_durable("d").await.unwrap();
        let batch = next(&mut durable).await.unwrap().unwrap();
        assert_eq!(durable.acknowledge(&batch).await.unwrap(), 2);
    })
    .await;
}

#[tokio::test]
async fn operations_can_be_spawned() {
    within(async {
        let server = MemoryServer::start().unwrap();
        let store = factstr_client::connect(server.target()).unwrap();
        let spawned = tokio::spawn(async move {
            let mut decisions = 0;
            let decision = |_: &Context| {
                decisions += 1;
                Ok::<_, Error>(vec![Event::new("a", json!({"n": 1}))?])
            };
            store.decide(EventQuery::all(), decision).await?;
            let mut handled = Vec::new();
            let take_in = |batch: DurableBatch| {
                handled.push(batch.last_sequence_number);
                async {
                    tokio::task::yield_now().await;
                    Ok::<_, Error>(())
                }
            };
            store.project("p", EventQuery::all(), take_in).stop_when_caught_up().await?;
            Ok::<_, Error>((decisions, handled))
        });
        assert_eq!(spawned.await.unwrap().unwrap(), (1, vec![1]));
    })
    .await;
}

#[tokio::test]
async fn a_projection_that_is_cancelled_acknowledges_what_is_handled() {
    within(async {
        let server = MemoryServer::start().unwrap();
        let store = factstr_client::connect(server.target()).unwrap();
        for n in 1..=3 {
            store.append(Event::new("a", n).unwrap()).await.unwrap();
        }
        let (begun, third) = oneshot::channel();
        let mut begun = Some(begun);
        let take_in = |batch: DurableBatch| {
            let begun = begun.take_if(|_| batch.last_sequence_number == 3);
            async move {
                if let Some(begun) = begun {
                    begun.send(()).unwrap();
                    pending::<()>().await;
                }
                Ok::<_, Error>(())
            }
        };
        tokio::select! {
            ended = store.project("p", EventQuery::all(), take_in) => panic!("{ended:?}"),
            () = async { third.await.unwrap() } => {}
        }
        // Not refused: the lease is known to end.
        let mut stream = store.stream_all_durable("p").await.unwrap();
        assert_eq!(stream.cursor(), 2);
        assert_eq!(stream.try_next().await.unwrap().unwrap().last_sequence_number, 3);
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_is_over_has_not_caught_up() {
    within(async {
        let server = MemoryServer::start().unwrap();
        let store = factstr_client::connect(server.target()).unwrap();
        store.append(Event::new("a", 1).unwrap()).await.unwrap();
        let mut stream = store.stream_all_durable("d").await.unwrap();
        let batch = stream.until_caught_up().await.unwrap().unwrap();
        assert_eq!(stream.until_caught_up().await.unwrap(), None);
        let request = v1::ResetDurableStreamRequest { durable_stream: "d".into(), cursor: 0, force: true };
        store.durable_stream_stub().reset_durable_stream(request).await.unwrap();
        assert_eq!(stream.acknowledge(&batch).await.unwrap_err().kind(), ErrorKind::LeaseLost);
        for _ in 0..2 {
            assert_eq!(stream.until_caught_up().await.unwrap_err().kind(), ErrorKind::LeaseLost);
        }
        assert_eq!(stream.try_next().await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn times_and_attempts_that_are_none_are_wrong_usage() {
    within(async {
        // Nobody is there: nothing is sent.
        let store = factstr_client::connect("localhost:1").unwrap();
        let (all, none) = (EventQuery::all, Duration::ZERO);
        let decision = |_: &Context| Ok::<_, Error>(vec![]);
        let handler = |_: DurableBatch| async { Ok::<_, Error>(()) };
        for error in [
            store.append(Event::new("a", 1).unwrap()).timeout(none).await.unwrap_err(),
            store.query(all()).timeout(none).await.unwrap_err(),
            store.read_context(all()).timeout(none).await.unwrap_err(),
            store.decide(all(), decision).timeout(none).await.unwrap_err(),
            store.decide(all(), decision).attempts(0).await.unwrap_err(),
            store.stream_all().give_up_after(none).await.unwrap_err(),
            store.stream_all_durable("d").give_up_after(none).await.unwrap_err(),
            store.project("p", all(), handler).give_up_after(none).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Usage, "{error:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_stubs_share_the_stores_channel() {
    within(async {
        let server = MemoryServer::start().unwrap();
        let store = factstr_client::connect(server.target()).unwrap();
        let info = store.server_stub().get_server_info(v1::GetServerInfoRequest {}).await.unwrap().into_inner();
        assert_eq!(info.store_kind, "memory");
    })
    .await;
}

#[tokio::test]
async fn a_name_that_cannot_be_resolved_is_unavailable() {
    within(async {
        let options = ConnectOptions::new().retries(Retries::none());
        let error = options.connect("unix:/nowhere/factstr.sock").unwrap().query(EventQuery::all()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.message().contains("No such file"), "{error}");
    })
    .await;
}
