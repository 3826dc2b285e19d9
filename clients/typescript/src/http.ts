import { isProblem, KmsServiceError, Problem, UnexpectedAnswer, Unreachable } from './errors.js';
import { RETRIES, secondsToWait, type Repeatable, type Retries } from './retrying.js';
import { toJson } from './values.js';

export interface KmsServiceClientOptions {
  /** Such as `http://kms.internal:3001`. */
  readonly baseUrl: string;
  /** Made by `kms-service token create`; neither errors nor inspecting the client show it. */
  readonly token: string;
  /** Maximum milliseconds of one attempt (default 30,000). */
  readonly timeout?: number;
  /** How often a call is repeated, and how long it may wait in all. */
  readonly retries?: Partial<Retries>;
  /** Used instead of the global `fetch`, such as one with a client certificate. */
  readonly fetch?: typeof fetch;
}

/** One request. */
export interface Call {
  readonly method: 'GET' | 'POST' | 'PUT';
  readonly path: string;
  readonly repeatable: Repeatable;
  readonly body?: unknown;
}

// No connection was made: Node's names for the cause of what `fetch` throws.
const NEVER_SENT = new Set([
  'ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT',
]);

/** Sends calls with one token and repeats them where that is safe. `fetch` keeps the connections. */
export class Http {
  readonly #baseUrl: string;
  readonly #token: string;
  readonly #timeout: number;
  readonly #retries: Retries;
  readonly #fetch: typeof fetch;

  constructor(options: KmsServiceClientOptions) {
    this.#baseUrl = options.baseUrl.replace(/\/+$/, '');
    this.#token = options.token;
    this.#timeout = options.timeout ?? 30_000;
    this.#retries = { ...RETRIES, ...options.retries };
    this.#fetch = options.fetch ?? fetch;
  }

  /** Send a call and return the answer's content; rejects with a `KmsServiceError`. */
  async send(call: Call): Promise<unknown> {
    for (let attempt = 1, waited = 0; ; attempt += 1) {
      try {
        return await this.#sendOnce(call);
      } catch (error) {
        const wait = secondsToWait(error, call.repeatable, attempt, waited, this.#retries);
        if (wait === null) throw error;
        waited += wait;
        await new Promise((resolve) => setTimeout(resolve, wait * 1000));
      }
    }
  }

  async #sendOnce(call: Call): Promise<unknown> {
    const headers: Record<string, string> = { Authorization: `Bearer ${this.#token}` };
    const init: RequestInit = { method: call.method, headers, redirect: 'manual' };
    if (call.body !== undefined) {
      headers['Content-Type'] = 'application/json';
      init.body = toJson(call.body);
    }
    init.signal = AbortSignal.timeout(this.#timeout);
    try {
      const fetching = this.#fetch;
      const response = await fetching(this.#baseUrl + call.path, init);
      return read(response, await response.text());
    } catch (error) {
      throw error instanceof KmsServiceError ? error : unreachable(call, error);
    }
  }
}

function read(response: Response, text: string): unknown {
  const content = parse(text);
  if (response.ok && content !== undefined) return content;
  if (!response.ok && isProblem(content)) throw new Problem(content, retryAfter(response));
  throw new UnexpectedAnswer(response.status, response.headers.get('X-Request-Id'));
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function retryAfter(response: Response): number | null {
  const seconds = response.headers.get('Retry-After') ?? '';
  return /^\d+$/.test(seconds) ? Number(seconds) : null;
}

function unreachable(call: Call, error: unknown): Unreachable {
  const { name, cause } = error as { name?: string; cause?: { code?: string } };
  const reason = cause?.code ?? name ?? 'failed';
  return new Unreachable(`${call.method} ${call.path}: ${reason}`, NEVER_SENT.has(reason), { cause: error });
}
