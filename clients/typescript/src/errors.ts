/** Any failure of a call to the service. None holds a token, a key or what was to be signed. */
export class KmsServiceError extends Error {
  override name = 'KmsServiceError';
}

/** No wallet can have this user id: ids are 1 to 128 of `A-Z a-z 0-9 . _ : @ -`, and not `.` or `..`. */
export class InvalidUserId extends KmsServiceError {
  override name = 'InvalidUserId';
}

/** No answer came. Whether the call took effect is unknown, unless `neverSent`. */
export class Unreachable extends KmsServiceError {
  override name = 'Unreachable';

  constructor(
    message: string,
    /** No connection was made, so the service does not know of the call. */
    readonly neverSent: boolean,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** The answer is not one of this service, in a version that the client knows. */
export class UnexpectedAnswer extends KmsServiceError {
  override name = 'UnexpectedAnswer';

  constructor(
    readonly status: number,
    readonly requestId: string | null,
  ) {
    super(`HTTP ${status} with content that is not the service's (request ${requestId})`);
  }
}

/** An RFC 9457 problem as the service sends it; some codes have additional members. */
export interface ProblemMembers {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: string;
  readonly requestId?: string | null;
  readonly [member: string]: unknown;
}

/** The service refused or failed the call and says why: decide by `code`, which is stable. */
export class Problem extends KmsServiceError {
  override name = 'Problem';
  readonly status: number;
  /** Such as `wallet_exists`; the service's documentation lists all. */
  readonly code: string;
  readonly detail: string;
  /** As in the service's log and audit rows, for questions to its operators. */
  readonly requestId: string | null;

  constructor(
    /** All members, including the additional ones of some codes. */
    readonly members: ProblemMembers,
    /** Seconds to wait, where the service says so. */
    readonly retryAfter: number | null,
  ) {
    super(`${members.code}: ${members.detail} (HTTP ${members.status}, request ${members.requestId ?? null})`);
    this.status = members.status;
    this.code = members.code;
    this.detail = members.detail;
    this.requestId = members.requestId ?? null;
  }
}

/** Whether `value` is a problem of this service. */
export function isProblem(value: unknown): value is ProblemMembers {
  const members = value as Partial<ProblemMembers> | null;
  return typeof members?.code === 'string' && typeof members.status === 'number' && typeof members.detail === 'string';
}
