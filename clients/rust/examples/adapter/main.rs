//! The adapter of this client for `clients/conformance`: does what each line of its input says, by the public API.
//!
//! In Rust who reads a stream owns it, and dropping is closing and cancelling. So what a store or stream that was
//! closed answers, and a request that was cancelled, stands here: what is under way is dropped. But an append under way
//! is finished, because it keeps its store, and what has become of it is known only then.

mod shown;
mod written;

use std::collections::HashMap;
use std::future::ready;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use factstr_client::{
    Acknowledger, ConnectOptions, Context, DurableBatch, DurableStream, Error, EventStore, LiveStream, Order, Retries,
    Start,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::runtime::Handle;
use tokio::sync::watch;

use shown::{Failure, closed, defect, shown_append, shown_batch, shown_record, usage};
use written::{Request, event_query, events, tls};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let adapter = Arc::new(Adapter::default());
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let request: Request = serde_json::from_str(&line)?;
        let (closing, cancelled) = (adapter.closing(&request), Switch::default());
        locked(&adapter.running).insert(request.id, cancelled.clone());
        let adapter = adapter.clone();
        tokio::spawn(async move {
            let id = request.id;
            let outcome = tokio::spawn(adapter.clone().carry_out_until(request, closing, cancelled)).await;
            locked(&adapter.running).remove(&id);
            let outcome = outcome.unwrap_or_else(|panic| Err(defect(panic)));
            let answer = match outcome {
                Ok(result) => json!({"id": id, "result": result}),
                Err(Failure(error)) => json!({"id": id, "error": error}),
            };
            let mut output = std::io::stdout().lock();
            writeln!(output, "{answer}").and_then(|()| output.flush()).expect("somebody reads the answers");
        });
    }
    Ok(())
}

/// Stores and streams by their names, and requests by their numbers.
#[derive(Default)]
struct Adapter {
    stores: Mutex<HashMap<String, (EventStore, Switch)>>,
    streams: Mutex<HashMap<String, Stream>>,
    running: Mutex<HashMap<u64, Switch>>,
}

/// What a durable stream has delivered last under each number.
type Delivered = Arc<Mutex<HashMap<u64, DurableBatch>>>;

#[derive(Clone)]
struct Stream {
    /// Of a durable one.
    acknowledging: Option<(Acknowledger, Delivered)>,
    opened: Arc<tokio::sync::Mutex<Option<Opened>>>,
    store: String,
    closed: Switch,
}

enum Opened {
    Live(LiveStream),
    Durable(DurableStream, Delivered),
}

/// Thrown once, for all that wait for it.
#[derive(Clone)]
struct Switch(watch::Sender<bool>);

impl Default for Switch {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Switch {
    fn throw(&self) {
        self.0.send_replace(true);
    }

    fn is_thrown(&self) -> bool {
        *self.0.borrow()
    }

    async fn thrown(&self) {
        let _ = self.0.subscribe().wait_for(|thrown| *thrown).await;
    }
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Adapter {
    async fn carry_out_until(
        self: Arc<Self>,
        request: Request,
        closing: Switch,
        cancelled: Switch,
    ) -> Result<Value, Failure> {
        if closing.is_thrown() {
            return Err(closed());
        }
        let finishes = matches!(request.what.as_str(), "append" | "append_if" | "decide");
        tokio::select! {
            biased;
            () = closing.thrown(), if !finishes => Err(closed()),
            () = cancelled.thrown() => Err(Failure(json!({"kind": "cancelled"}))),
            outcome = self.carry_out(request) => outcome,
        }
    }

    async fn carry_out(&self, a: Request) -> Result<Value, Failure> {
        match a.what.as_str() {
            "connect" => self.connect(a),
            "close" => self.close(&a).await,
            "append" => append(&self.store(&a)?, a).await,
            "append_if" => append_if(&self.store(&a)?, a).await,
            "query" => query(&self.store(&a)?, a).await,
            "decide" => decide(&self.store(&a)?, a).await,
            "project" => project(&self.store(&a)?, a).await,
            "stream" => Ok(self.open(&a, stream(&self.store(&a)?, &a).await?)),
            "durable" => Ok(self.open(&a, durable(&self.store(&a)?, &a).await?)),
            "acknowledge" => self.stream(&a)?.acknowledge(a.last_sequence_number).await,
            "next" | "until_caught_up" => {
                let opened = self.stream(&a)?.opened;
                opened.lock().await.as_mut().ok_or_else(closed)?.carry_out(&a).await
            }
            "close_stream" => {
                self.stream(&a)?.close().await;
                Ok(json!({}))
            }
            "cancel" => {
                if let Some(running) = locked(&self.running).get(&a.request) {
                    running.throw();
                }
                Ok(json!({}))
            }
            other => Err(usage(format!("{other}: no such request"))),
        }
    }

    fn connect(&self, a: Request) -> Result<Value, Failure> {
        let usual = Retries::default();
        let mut options = ConnectOptions::new().retries(Retries {
            limit: a.retries.limit.unwrap_or(usual.limit),
            first_delay: a.retries.first_delay_ms.map_or(usual.first_delay, Duration::from_millis),
            longest_delay: a.retries.longest_delay_ms.map_or(usual.longest_delay, Duration::from_millis),
        });
        if let Some(tls) = a.tls.and_then(|written| tls(written).transpose()) {
            options = options.tls(tls?);
        }
        if let Some(token) = a.token {
            options = options.token(token);
        }
        if a.allow_plaintext_token {
            options = options.allow_plaintext_token();
        }
        if let Some(timeout) = a.timeout_ms {
            options = options.timeout(Duration::from_millis(timeout));
        }
        locked(&self.stores).insert(a.store, (options.connect(&a.target)?, Switch::default()));
        Ok(json!({}))
    }

    async fn close(&self, a: &Request) -> Result<Value, Failure> {
        // The store itself stays, as one that is closed.
        locked(&self.stores).get(&a.store).ok_or_else(|| usage("no such store"))?.1.throw();
        let streams: Vec<Stream> = locked(&self.streams).values().cloned().collect();
        for stream in streams.into_iter().filter(|stream| stream.store == a.store) {
            stream.close().await;
        }
        Ok(json!({}))
    }

    fn open(&self, a: &Request, opened: Opened) -> Value {
        let (shown, acknowledging) = match &opened {
            Opened::Live(stream) => (json!({"position": stream.position()}), None),
            Opened::Durable(stream, delivered) => (
                json!({"cursor": stream.cursor(), "lease_epoch": stream.lease_epoch()}),
                Some((stream.acknowledger(), delivered.clone())),
            ),
        };
        let opened = Arc::new(tokio::sync::Mutex::new(Some(opened)));
        let stream = Stream { acknowledging, opened, store: a.store.clone(), closed: Switch::default() };
        locked(&self.streams).insert(a.stream.clone(), stream);
        shown
    }

    fn store(&self, a: &Request) -> Result<EventStore, Failure> {
        locked(&self.stores).get(&a.store).map(|(store, _)| store.clone()).ok_or_else(|| usage("no such store"))
    }

    fn stream(&self, a: &Request) -> Result<Stream, Failure> {
        locked(&self.streams).get(&a.stream).cloned().ok_or_else(|| usage("no such stream"))
    }

    /// What is thrown when that is closed on which the request works.
    fn closing(&self, a: &Request) -> Switch {
        match a.what.as_str() {
            "connect" | "close" | "close_stream" | "cancel" => None,
            "next" | "until_caught_up" | "acknowledge" => self.stream(a).ok().map(|stream| stream.closed),
            _ => locked(&self.stores).get(&a.store).map(|(_, closed)| closed.clone()),
        }
        .unwrap_or_default()
    }
}

impl Stream {
    async fn acknowledge(&self, last_sequence_number: u64) -> Result<Value, Failure> {
        let (acknowledger, delivered) =
            self.acknowledging.as_ref().ok_or_else(|| usage("the stream is not durable"))?;
        let batch = locked(delivered).get(&last_sequence_number).cloned().ok_or_else(|| usage("no such batch"))?;
        Ok(json!({"cursor": acknowledger.acknowledge(&batch).await?}))
    }

    async fn close(&self) {
        self.closed.throw();
        // Whoever is reading it lets go of it now.
        drop(self.opened.lock().await.take());
    }
}

impl Opened {
    async fn carry_out(&mut self, a: &Request) -> Result<Value, Failure> {
        if a.what == "next" {
            let batch = self.next(false).await?.ok_or_else(closed)?;
            return Ok(json!({"batch": batch, "position": self.position()}));
        }
        let mut batches = Vec::new();
        while let Some(batch) = self.next(true).await? {
            batches.push(batch);
        }
        Ok(json!({"batches": batches, "position": self.position()}))
    }

    async fn next(&mut self, until_caught_up: bool) -> Result<Option<Value>, Error> {
        match self {
            Self::Live(stream) => {
                let batch = if until_caught_up { stream.until_caught_up().await } else { stream.try_next().await }?;
                batch
                    .map(|batch| {
                        shown_batch(batch.first_sequence_number, batch.last_sequence_number, &batch.event_records)
                    })
                    .transpose()
            }
            Self::Durable(stream, delivered) => {
                let batch = if until_caught_up { stream.until_caught_up().await } else { stream.try_next().await }?;
                let Some(batch) = batch else { return Ok(None) };
                let mut shown =
                    shown_batch(batch.first_sequence_number, batch.last_sequence_number, &batch.event_records)?;
                shown["lease_epoch"] = json!(batch.lease_epoch);
                locked(delivered).insert(batch.last_sequence_number, batch);
                Ok(Some(shown))
            }
        }
    }

    fn position(&self) -> u64 {
        match self {
            Self::Live(stream) => stream.position(),
            Self::Durable(stream, _) => stream.position(),
        }
    }
}

async fn append(store: &EventStore, a: Request) -> Result<Value, Failure> {
    let mut append = store.append(events(a.events)?);
    if let Some(key) = a.idempotency_key {
        append = append.idempotency_key(key);
    }
    if let Some(timeout) = a.timeout_ms {
        append = append.timeout(Duration::from_millis(timeout));
    }
    Ok(shown_append(&append.await?))
}

async fn append_if(store: &EventStore, a: Request) -> Result<Value, Failure> {
    let query = event_query(&a.query.unwrap_or_default())?;
    let mut append = store.append_if(events(a.events)?, query, a.expected_context_version);
    if let Some(key) = a.idempotency_key {
        append = append.idempotency_key(key);
    }
    if let Some(timeout) = a.timeout_ms {
        append = append.timeout(Duration::from_millis(timeout));
    }
    Ok(shown_append(&append.await?))
}

async fn query(store: &EventStore, a: Request) -> Result<Value, Failure> {
    let mut query = store.query(event_query(&a.query.unwrap_or_default())?);
    if let Some(limit) = a.limit {
        query = query.limit(limit);
    }
    if a.order.as_deref() == Some("descending") {
        query = query.order(Order::Descending);
    }
    if let Some(before) = a.before {
        query = query.before(before);
    }
    if let Some(timeout) = a.timeout_ms {
        query = query.timeout(Duration::from_millis(timeout));
    }
    let mut result = query.await?;
    let mut records = Vec::new();
    while let Some(record) = result.try_next().await? {
        records.push(shown_record(&record)?);
    }
    Ok(json!({
        "event_records": records,
        "context_version": result.context_version(),
        "last_returned_sequence_number": result.last_returned_sequence_number(),
    }))
}

async fn decide(store: &EventStore, a: Request) -> Result<Value, Failure> {
    let mut decisions = 0;
    let decision = |context: &Context| {
        decisions += 1;
        if decisions <= a.interfere.times {
            let interference = store.append(events(a.interfere.events.clone())?);
            tokio::task::block_in_place(|| Handle::current().block_on(interference.into_future()))?;
        }
        let last = context.records.last().map(|record| record.event_type.as_str());
        let is_over = last.is_some() && last == a.unless_last.as_deref();
        if is_over { Ok(Vec::new()) } else { events(a.events.clone()) }
    };
    let mut deciding = store.decide(event_query(&a.query.unwrap_or_default())?, decision);
    if let Some(attempts) = a.attempts {
        deciding = deciding.attempts(attempts);
    }
    let appended = deciding.await?;
    Ok(json!({"decisions": decisions, "appended": appended.as_ref().map(shown_append)}))
}

async fn project(store: &EventStore, a: Request) -> Result<Value, Failure> {
    let mut handled = Vec::new();
    let take_in = |batch: DurableBatch| {
        if Some(batch.last_sequence_number) == a.fail_at {
            return ready(Err(Failure(json!({"kind": "handler", "handled": handled}))));
        }
        handled.push(batch.last_sequence_number);
        ready(Ok(()))
    };
    let query = event_query(&a.query.unwrap_or_default())?;
    store.project(a.name, query, take_in).stop_when_caught_up().await?;
    Ok(json!({"handled": handled}))
}

async fn stream(store: &EventStore, a: &Request) -> Result<Opened, Failure> {
    let mut stream = match &a.query {
        Some(query) => store.stream_to(event_query(query)?),
        None => store.stream_all(),
    };
    if let Some(after) = a.after {
        stream = stream.after(after);
    }
    if let Some(time) = a.give_up_after_ms {
        stream = stream.give_up_after(Duration::from_millis(time));
    }
    Ok(Opened::Live(stream.await?))
}

async fn durable(store: &EventStore, a: &Request) -> Result<Opened, Failure> {
    let mut stream = match &a.query {
        Some(query) => store.stream_to_durable(&a.name, event_query(query)?),
        None => store.stream_all_durable(&a.name),
    };
    if let Some(start) = &a.start {
        stream = stream.start(start.as_u64().map_or(Start::AtHead, Start::After));
    }
    if let Some(batches) = a.max_unacknowledged_batches {
        stream = stream.max_unacknowledged_batches(batches);
    }
    if a.wait_for_lease {
        stream = stream.wait_for_lease();
    }
    if let Some(time) = a.give_up_after_ms {
        stream = stream.give_up_after(Duration::from_millis(time));
    }
    Ok(Opened::Durable(stream.await?, Delivered::default()))
}
