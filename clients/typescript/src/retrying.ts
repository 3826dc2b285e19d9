import { Problem, Unreachable } from './errors.js';

/** How often a call is repeated, and how long it may wait in all. */
export interface Retries {
  /** Maximum number of times that a call is sent, including the first (default 4); 1 repeats nothing. */
  readonly attempts: number;
  /** Maximum seconds of waiting, over all attempts of a call (default 15). A longer `Retry-After` is not waited for. */
  readonly patience: number;
}

export const RETRIES: Retries = { attempts: 4, patience: 15 };

/**
 * What sending the same call again does: the same as the first time (`always`: reads, `ensureWallet`, and signatures,
 * which are deterministic), or something else (a create that succeeded answers `wallet_exists`).
 */
export type Repeatable = 'always' | 'if-nothing-happened';

// An operator has to act: asking again within seconds only costs time.
const LASTING = new Set(['kms_key_unusable', 'no_usable_key', 'sealed']);
// The service says so before it does anything.
const BEFORE_ANY_EFFECT = new Set(['rate_limited', 'overloaded', 'kms_throttled', 'kms_unavailable']);
const FIRST_WAIT_SECONDS = 0.1;

/** Seconds to wait before the call may be sent again after `error`; null if it may not. */
export function secondsToWait(
  error: unknown,
  repeatable: Repeatable,
  attempt: number,
  waited: number,
  retries: Retries,
): number | null {
  if (attempt >= retries.attempts || !mayHelp(error, repeatable)) return null;
  // Spread, so that callers who failed together do not retry together.
  const backoff = FIRST_WAIT_SECONDS * 2 ** attempt * (0.5 + Math.random() / 2);
  const wait = (error instanceof Problem ? error.retryAfter : null) ?? backoff;
  return waited + wait <= retries.patience ? wait : null;
}

function mayHelp(error: unknown, repeatable: Repeatable): boolean {
  if (error instanceof Problem) {
    if (repeatable === 'if-nothing-happened') return BEFORE_ANY_EFFECT.has(error.code);
    return (error.status === 429 || error.status === 503) && !LASTING.has(error.code);
  }
  return error instanceof Unreachable && (error.neverSent || repeatable === 'always');
}
