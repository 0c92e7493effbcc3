/** Owns queries as values: which facts to select, written so that a reader of the calling code sees it at once. */
import { checkedOptional, checkedText, type SequenceNumber } from "./checks.js";
import type * as wire from "./generated/factstr/v1/event.js";
import { type JsonText, type JsonValue, toJsonText } from "./json.js";

/** One alternative of a query: event types AND payload predicates. What is left out does not constrain. */
export interface Selection {
  /** Facts of any of these types; none at all when empty. */
  readonly eventTypes?: readonly string[] | undefined;
  /**
   * Facts whose payload holds at least this: `{ tool: { id: "drill-1" } }` matches by recursive subset. `null` matches
   * only the payload `null`.
   */
  readonly payload?: JsonValue | JsonText | undefined;
  /** In place of `payload`: facts whose payload holds at least one of these; none at all when empty. */
  readonly payloadAny?: readonly (JsonValue | JsonText)[] | undefined;
}

/** Selects facts: alternatives, of which any may match. Made by `where` and `everything`; it never changes. */
export class EventQuery {
  readonly #filters: readonly wire.EventFilter[];
  readonly #minSequenceNumber: bigint | undefined;

  /** @internal */
  constructor(filters: readonly wire.EventFilter[], minSequenceNumber?: bigint) {
    this.#filters = filters;
    this.#minSequenceNumber = minSequenceNumber;
  }

  /**
   * Returns the query for the facts of either.
   *
   * @throws {TypeError} when only one has a cursor, or each another: write `a.or(b).after(n)`
   */
  or(other: EventQuery): EventQuery {
    if (this.#minSequenceNumber !== other.#minSequenceNumber) {
      throw new TypeError("a query has one cursor for all its alternatives: write a.or(b).after(n)");
    }
    // No filter at all is everything, and everything or something is everything.
    const isEverything = this.#filters.length === 0 || other.#filters.length === 0;
    return new EventQuery(isEverything ? [] : [...this.#filters, ...other.#filters], this.#minSequenceNumber);
  }

  /**
   * Returns this query for facts strictly after a sequence number. It narrows only what is returned, never the context
   * version, a condition, or a stream.
   */
  after(sequenceNumber: SequenceNumber): EventQuery {
    return new EventQuery(this.#filters, checkedOptional("after", sequenceNumber));
  }

  /** @internal */
  toMessage(): wire.EventQuery {
    return { filters: [...this.#filters], minSequenceNumber: this.#minSequenceNumber };
  }
}

/** Every fact. */
export const everything = new EventQuery([]);

/**
 * Returns the query for the facts that one alternative selects.
 *
 *     where({ eventTypes: ["tool-registered", "tool-returned"], payload: { tool: { id: "drill-1" } } })
 *       .or(where({ eventTypes: ["audit-started"] }))
 *
 * @throws {TypeError} when `payload` and `payloadAny` are both given, and for a predicate that JSON cannot say
 */
export function where({ eventTypes, payload, payloadAny }: Selection): EventQuery {
  if (payload !== undefined && payloadAny !== undefined) {
    throw new TypeError("give one predicate as payload, or several as payloadAny, not both");
  }
  const predicates = payload === undefined ? payloadAny : [payload];
  return new EventQuery([
    {
      eventTypes: eventTypes && {
        anyOf: eventTypes.map((eventType) => checkedText("an event type", eventType)),
      },
      payloadPredicates: predicates && {
        anyOf: predicates.map((predicate) => toJsonText("a payload predicate", predicate)),
      },
    },
  ]);
}
