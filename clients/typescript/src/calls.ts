/** Owns what every operation of a store stands on: the channel, its stubs, and a call with its repetitions. */
import {
  type CallOptions,
  Channel,
  type Client,
  type ClientReadableStream,
  InterceptingCall,
  type Interceptor,
  Metadata,
  type MethodDefinition,
  status,
} from "@grpc/grpc-js";

import type { Connection } from "./connection.js";
import { Ending, pause, timer } from "./ending.js";
import { StoreClosedError } from "./errors.js";
import { Interrupted, isFailure } from "./failure.js";
import { DurableStreamServiceClient } from "./generated/factstr/v1/durable_stream_service.js";
import { EventStoreServiceClient } from "./generated/factstr/v1/event_store_service.js";
import { ServerServiceClient } from "./generated/factstr/v1/server_service.js";
import type { Attempts } from "./retry.js";

/** The generated stubs on the store's channel; every call on them carries the store's token. */
export interface Stubs {
  /** Appending, querying and streaming. */
  readonly eventStore: EventStoreServiceClient;
  /** Seeing, moving, deleting and awaiting durable streams. */
  readonly durableStreams: DurableStreamServiceClient;
  /** What the server is, and where its log ends. */
  readonly server: ServerServiceClient;
}

/** A unary method of a generated service. */
export type UnaryMethod<Request, Response> = Pick<
  MethodDefinition<Request, Response>,
  "path" | "requestSerialize" | "responseDeserialize"
>;

/** A channel, and all calls that are under way on it. */
export class Calls {
  readonly channel: Channel;
  readonly stubs: Stubs;
  /** The epochs of leases that this store's durable streams have closed themselves. */
  readonly endedLeases = new Set<string>();
  readonly #closing = new Ending();
  readonly #underWay = new Set<InterceptingCall>();

  constructor(readonly connection: Connection) {
    const { address, credentials, options } = connection;
    this.channel = new Channel(address, credentials, options);
    const shared = {
      channelOverride: this.channel,
      interceptors: [this.#intercept(connection.authorization)],
    };
    this.stubs = {
      eventStore: new EventStoreServiceClient(address, credentials, shared),
      durableStreams: new DurableStreamServiceClient(address, credentials, shared),
      server: new ServerServiceClient(address, credentials, shared),
    };
  }

  /** Aborts when the store is closed. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /** Ends all calls, those of the stubs too, and closes the channel. Harmless again. */
  close(): void {
    const message = "the store is closed; call it before its close(), or connect again";
    this.#closing.end(new StoreClosedError(message, { code: "CANCELLED" }));
    for (const call of this.#underWay) {
      call.cancelWithStatus(status.CANCELLED, "the store was closed");
    }
    this.channel.close();
  }

  /**
   * Calls a unary method, and again after failures that may pass. When the signal or the store's closing cuts it off, it
   * throws the reason, or for an append that may have been committed an OutcomeUnknownError.
   */
  async unary<Request, Response>(
    method: UnaryMethod<Request, Response>,
    request: Buffer,
    attempts: Attempts,
    signal: AbortSignal | undefined,
  ): Promise<Response> {
    const ending = new Ending(this.closing, signal);
    try {
      for (;;) {
        if (ending.isOver()) {
          throw attempts.notSent(ending.reason);
        }
        try {
          return await this.#send(method, request, attempts.remaining(), ending.signal);
        } catch (failure) {
          if (!isFailure(failure)) {
            throw failure;
          }
          if (ending.isOver() && failure.code === status.CANCELLED) {
            throw attempts.cutOff(ending.reason);
          }
          await pause(attempts.delayAfter(failure), ending.signal);
        }
      }
    } finally {
      ending.release();
    }
  }

  #send<Request, Response>(
    { path, responseDeserialize }: UnaryMethod<Request, Response>,
    request: Buffer,
    milliseconds: number,
    signal: AbortSignal,
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      const client: Client = this.stubs.eventStore;
      const options: CallOptions = { deadline: Date.now() + milliseconds };
      // As bytes, which are made once for all attempts.
      const asIs = (bytes: Buffer): Buffer => bytes;
      const call = client.makeUnaryRequest(
        path,
        asIs,
        responseDeserialize,
        request,
        new Metadata(),
        options,
        (failure, response) => {
          signal.removeEventListener("abort", cancel);
          if (failure !== null) {
            reject(failure);
          } else {
            resolve(response as Response);
          }
        },
      );
      const cancel = (): void => {
        call.cancel();
      };
      signal.addEventListener("abort", cancel);
    });
  }

  #intercept(authorization: string | undefined): Interceptor {
    return (options, nextCall) => {
      const call = new InterceptingCall(nextCall(options), {
        start: (metadata, _listener, next) => {
          this.#underWay.add(call);
          const complete = metadata.clone();
          if (authorization !== undefined) {
            complete.set("authorization", authorization);
          }
          next(complete, {
            onReceiveStatus: (ended, nextStatus) => {
              this.#underWay.delete(call);
              nextStatus(ended);
            },
          });
        },
      });
      return call;
    };
  }
}

/** One streaming call, read message by message, as the reader asks for more. */
export class Receiving<Message> {
  readonly #stream: ClientReadableStream<Message>;
  readonly #messages: AsyncIterator<Message, undefined>;

  constructor(stream: ClientReadableStream<Message>) {
    this.#stream = stream;
    // A call that is cancelled while nobody reads it emits an error, which nobody needs to hear.
    stream.on("error", () => undefined);
    this.#messages = stream[Symbol.asyncIterator]() as AsyncIterator<Message, undefined>;
  }

  /**
   * Returns the next message; `undefined` at the end. A wait of more than so many milliseconds ends the call, and is
   * thrown as a failure with the code.
   */
  async next(milliseconds: number, code: status): Promise<Message | undefined> {
    let silence: Interrupted | undefined;
    const waiting = timer(milliseconds, () => {
      silence = new Interrupted(`the server said nothing for ${Math.round(milliseconds)} ms`, code);
      this.cancel();
    });
    try {
      return (await this.#messages.next()).value;
    } catch (failure) {
      throw silence ?? failure;
    } finally {
      clearTimeout(waiting);
    }
  }

  cancel(): void {
    this.#stream.cancel();
  }
}
