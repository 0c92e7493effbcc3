//! A desk that rents out tools, and its inventory: `tool-desk TARGET NAME` takes commands from its input, one a line.
//!
//! Any number of desks, in any languages, share one store. What each decides rests on all that is known of the tool at
//! that moment, so no tool is checked out twice.

use std::collections::BTreeMap;
use std::future::ready;
use std::process::ExitCode;
use std::{env, fs};

use factstr_client::{Context, DurableBatch, Error, Event, EventFilter, EventStore};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

const COMMANDS: &str = "commands: register ID KIND, check-out ID CUSTOMER, return ID, inventory";
const TYPES: [&str; 3] = ["tool-registered", "tool-checked-out", "tool-returned"];

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [target, name] = arguments.as_slice() else {
        eprintln!("usage: tool-desk TARGET NAME");
        return ExitCode::from(2);
    };
    match open(target, name).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("tool-desk: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn open(target: &str, name: &str) -> Result<(), Failure> {
    let desk = Desk { store: factstr_client::connect(target)?, name };
    desk.store.query(EventFilter::new()).limit(0).await?;
    println!("{name} is open");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        println!("{}", desk.answer(&line).await?);
    }
    Ok(())
}

struct Desk<'a> {
    store: EventStore,
    name: &'a str,
}

impl Desk<'_> {
    async fn answer(&self, line: &str) -> Result<String, Failure> {
        Ok(match *line.split_whitespace().collect::<Vec<_>>() {
            ["register", id, kind] => self.register(id, kind).await?,
            ["check-out", id, customer] => self.check_out(id, customer).await?,
            ["return", id] => self.take_back(id).await?,
            ["inventory"] => self.inventory().await?,
            _ => COMMANDS.to_owned(),
        })
    }

    async fn register(&self, id: &str, kind: &str) -> Result<String, Error> {
        let decision = |known: &Context| match known.records.last() {
            None => self.fact("tool-registered", json!({"tool": {"id": id, "kind": kind}})),
            Some(_) => Err(Refusal::Said(format!("{id} is registered already"))),
        };
        self.decide(id, format!("{id} is registered"), decision).await
    }

    async fn check_out(&self, id: &str, customer: &str) -> Result<String, Error> {
        let decision = |known: &Context| match known.records.last() {
            None => Err(Refusal::Said(format!("there is no {id}"))),
            Some(last) if last.event_type == "tool-checked-out" => {
                let payload: Value = last.payload()?;
                Err(Refusal::Said(format!("{id} is out: {} has it", text(&payload["customer"]["name"]))))
            }
            Some(_) => self.fact("tool-checked-out", json!({"tool": {"id": id}, "customer": {"name": customer}})),
        };
        self.decide(id, format!("{id} is checked out to {customer}"), decision).await
    }

    async fn take_back(&self, id: &str) -> Result<String, Error> {
        let decision = |known: &Context| match known.records.last() {
            None => Err(Refusal::Said(format!("there is no {id}"))),
            Some(last) if last.event_type == "tool-checked-out" => {
                self.fact("tool-returned", json!({"tool": {"id": id}}))
            }
            Some(_) => Err(Refusal::Said(format!("{id} is not out"))),
        };
        self.decide(id, format!("{id} is back"), decision).await
    }

    /// Decides on all that is known of one tool; again, when somebody else was faster. Returns what to say.
    async fn decide(
        &self,
        id: &str,
        done: String,
        mut decision: impl FnMut(&Context) -> Result<Event, Refusal> + Send,
    ) -> Result<String, Error> {
        let known = EventFilter::new().event_types(TYPES).payload(json!({"tool": {"id": id}}))?;
        match self.store.decide(known, |context| Ok(vec![decision(context)?])).await {
            Ok(_) => Ok(done),
            Err(Refusal::Said(why)) => Ok(why),
            Err(Refusal::Failed(error)) => Err(error),
        }
    }

    fn fact(&self, event_type: &str, payload: Value) -> Result<Event, Refusal> {
        Ok(Event::new(event_type, payload)?.with_metadata("desk", self.name))
    }

    /// Brings the table up to the head of the log, and shows it.
    async fn inventory(&self) -> Result<String, Failure> {
        let name = format!("inventory-{}", self.name);
        let mut table = Table::read(format!("{name}.json"))?;
        self.store
            .project(name, EventFilter::new().event_types(TYPES), |batch| ready(table.take_in(&batch)))
            .stop_when_caught_up()
            .await?;
        Ok(table.shown())
    }
}

/// Why a decision appends nothing.
enum Refusal {
    Said(String),
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The inventory, and the file that holds it.
struct Table {
    path: String,
    content: Value,
}

impl Table {
    fn read(path: String) -> Result<Self, Failure> {
        let content = if fs::exists(&path)? {
            serde_json::from_slice(&fs::read(&path)?)?
        } else {
            json!({"last_sequence_number": 0, "tools": {}})
        };
        Ok(Self { path, content })
    }

    /// Takes a batch in; one that the table holds already is left out: delivery is at least once.
    fn take_in(&mut self, batch: &DurableBatch) -> Result<(), Failure> {
        if self.content["last_sequence_number"].as_u64() >= Some(batch.last_sequence_number) {
            return Ok(());
        }
        for record in &batch.event_records {
            let payload: Value = record.payload()?;
            let tool = &mut self.content["tools"][text(&payload["tool"]["id"])];
            match record.event_type.as_str() {
                "tool-registered" => *tool = json!({"kind": payload["tool"]["kind"], "customer": null}),
                "tool-checked-out" => tool["customer"] = payload["customer"]["name"].clone(),
                _ => tool["customer"] = Value::Null,
            }
        }
        self.content["last_sequence_number"] = batch.last_sequence_number.into();
        // The tools and the number up to which they are known change together, or not at all.
        let fresh = format!("{}.new", self.path);
        fs::write(&fresh, self.content.to_string())?;
        fs::rename(&fresh, &self.path)?;
        Ok(())
    }

    fn shown(&self) -> String {
        let tools: BTreeMap<_, _> = self.content["tools"].as_object().into_iter().flatten().collect();
        let mut lines = Vec::new();
        for (id, tool) in &tools {
            lines.push(match &tool["customer"] {
                Value::Null => format!("{id} {} in", text(&tool["kind"])),
                customer => format!("{id} {} out {}", text(&tool["kind"]), text(customer)),
            });
        }
        lines.push(if tools.len() == 1 { "1 tool".to_owned() } else { format!("{} tools", tools.len()) });
        lines.join("\n")
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
