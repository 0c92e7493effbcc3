/**
 * A desk that rents out tools, and its inventory. `tool-desk TARGET NAME` takes commands from its input, one a line.
 *
 * Any number of desks, in any languages, share one store: what each decides rests on all that is known of the tool at
 * that moment, so no tool is checked out twice.
 */
import { readFile, rename, writeFile } from "node:fs/promises";
import { createInterface } from "node:readline";

import {
  connect,
  type Context,
  type DurableBatch,
  type EventStore,
  FactstrError,
  type NewEvent,
  where,
} from "@factstr/client";

const COMMANDS = "commands: register ID KIND, check-out ID CUSTOMER, return ID, inventory";
const TYPES = ["tool-registered", "tool-checked-out", "tool-returned"];

/** What the payloads of the three types hold, of each what it needs. */
interface Payload {
  readonly tool: { readonly id: string; readonly kind: string };
  readonly customer: { readonly name: string };
}

interface Tool {
  readonly kind: string;
  readonly customer: string | null;
}

/** The inventory by id, and the number of the last fact that it knows. */
interface Table {
  last_sequence_number: number;
  readonly tools: Map<string, Tool>;
}

class Desk {
  readonly #store: EventStore;
  readonly #name: string;
  readonly #table: string;

  constructor(store: EventStore, name: string) {
    this.#store = store;
    this.#name = name;
    this.#table = `inventory-${name}.json`;
  }

  answer(line: string): Promise<string> | string {
    const [command, ...words] = line.trim().split(/\s+/);
    const [id = "", detail = ""] = words;
    switch (`${command ?? ""} ${words.length}`) {
      case "register 2":
        return this.register(id, detail);
      case "check-out 2":
        return this.checkOut(id, detail);
      case "return 1":
        return this.takeBack(id);
      case "inventory 0":
        return this.inventory();
      default:
        return COMMANDS;
    }
  }

  register(id: string, kind: string): Promise<string> {
    return this.#decide(id, ({ records }) =>
      records.length > 0
        ? `${id} is registered already`
        : [this.#fact("tool-registered", { tool: { id, kind } }), `${id} is registered`],
    );
  }

  checkOut(id: string, customer: string): Promise<string> {
    return this.#decide(id, ({ records }) => {
      const last = records.at(-1);
      if (last === undefined) {
        return `there is no ${id}`;
      }
      if (last.eventType === "tool-checked-out") {
        return `${id} is out: ${(last.payload as Payload).customer.name} has it`;
      }
      const fact = this.#fact("tool-checked-out", { tool: { id }, customer: { name: customer } });
      return [fact, `${id} is checked out to ${customer}`];
    });
  }

  takeBack(id: string): Promise<string> {
    return this.#decide(id, ({ records }) => {
      const last = records.at(-1);
      if (last === undefined) {
        return `there is no ${id}`;
      }
      return last.eventType === "tool-checked-out"
        ? [this.#fact("tool-returned", { tool: { id } }), `${id} is back`]
        : `${id} is not out`;
    });
  }

  async inventory(): Promise<string> {
    await this.#store.project(
      `inventory-${this.#name}`,
      where({ eventTypes: TYPES }),
      (batch) => this.#takeIn(batch),
      { stopWhenCaughtUp: true },
    );
    const tools = [...(await this.#known()).tools].sort(([one], [other]) => (one < other ? -1 : 1));
    return [
      ...tools.map(
        ([id, { kind, customer }]) => `${id} ${kind} ${customer === null ? "in" : `out ${customer}`}`,
      ),
      tools.length === 1 ? "1 tool" : `${tools.length} tools`,
    ].join("\n");
  }

  /** Decides on all that is known of one tool, again when somebody else was faster: a fact and its answer, or a refusal. */
  async #decide(id: string, decision: (context: Context) => [NewEvent, string] | string): Promise<string> {
    let answer = "";
    await this.#store.decide(where({ eventTypes: TYPES, payload: { tool: { id } } }), (context) => {
      const decided = decision(context);
      if (typeof decided === "string") {
        answer = decided;
        return undefined;
      }
      answer = decided[1];
      return decided[0];
    });
    return answer;
  }

  #fact(eventType: string, payload: NewEvent["payload"]): NewEvent {
    return { eventType, payload, metadata: { desk: this.#name } };
  }

  /** Takes a batch into the table, unless it is known: after a crash it comes again. */
  async #takeIn({ eventRecords, lastSequenceNumber }: DurableBatch): Promise<void> {
    const table = await this.#known();
    if (lastSequenceNumber <= table.last_sequence_number) {
      return;
    }
    for (const { eventType, payload } of eventRecords) {
      const { tool, customer } = payload as Payload;
      const kind = eventType === "tool-registered" ? tool.kind : (table.tools.get(tool.id)?.kind ?? "");
      table.tools.set(tool.id, { kind, customer: eventType === "tool-checked-out" ? customer.name : null });
    }
    table.last_sequence_number = Number(lastSequenceNumber);
    // The facts and the number up to which they are known change together, or not at all.
    await writeFile(
      `${this.#table}.new`,
      JSON.stringify({ ...table, tools: Object.fromEntries(table.tools) }),
    );
    await rename(`${this.#table}.new`, this.#table);
  }

  async #known(): Promise<Table> {
    try {
      const text = await readFile(this.#table, "utf8");
      const { tools, ...rest } = JSON.parse(text) as {
        last_sequence_number: number;
        tools: Record<string, Tool>;
      };
      return { ...rest, tools: new Map(Object.entries(tools)) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") {
        return { last_sequence_number: 0, tools: new Map() };
      }
      throw error;
    }
  }
}

const [target = "", name = ""] = process.argv.slice(2);
try {
  await using store = connect(target);
  const desk = new Desk(store, name);
  await store.query(undefined, { limit: 0 }).contextVersion();
  console.log(`${name} is open`);
  for await (const line of createInterface(process.stdin)) {
    console.log(await desk.answer(line));
  }
} catch (error) {
  if (!(error instanceof FactstrError)) {
    throw error;
  }
  console.error(`tool-desk: ${error.message}`);
  process.exitCode = 1;
}
