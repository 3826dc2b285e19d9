export { KmsServiceClient } from './client.js';
export { InvalidUserId, KmsServiceError, Problem, UnexpectedAnswer, Unreachable } from './errors.js';
export type { ProblemMembers } from './errors.js';
export type { KmsServiceClientOptions } from './http.js';
export type { Retries } from './retrying.js';
export type {
  Authorization,
  BatchResult,
  ExportedKey,
  Foreseen,
  PrivateKey,
  Signature,
  SignedAuthorization,
  SignedTransaction,
  TransactionToSign,
  TypedData,
  Wallet,
  WalletPage,
} from './values.js';
