import type { components } from './openapi.js';

type Schemas = components['schemas'];

/** `T` with bigints allowed for numbers; they are sent as decimal text, so that no digit is lost. */
export type WithBigInts<T> = T extends number
  ? number | bigint
  : T extends object
    ? { [K in keyof T]: WithBigInts<T[K]> }
    : T;

/** A wallet without its secrets. */
export type Wallet = Schemas['WalletView'];
/** One page of wallets in order of user id; `nextCursor` is null on the last. */
export type WalletPage = Schemas['WalletPage'];
/** The result for one user of a batch: a wallet, or the problem of this user alone. */
export type BatchResult = Schemas['BatchResult'];
/** A bare private key: whoever holds it owns the wallet. */
export type PrivateKey = Schemas['PrivateKeyView'];
/** A signature (0x and 65 bytes: r, s, v of 27 or 28) and the digest that was signed. */
export type Signature = Schemas['SignatureView'];
/** A signed transaction as `eth_sendRawTransaction` takes it, and its hash. It has not been sent. */
export type SignedTransaction = Schemas['SignedTransactionView'];
/** A transaction, with JSON-RPC's or ethers' names. */
export type TransactionToSign = WithBigInts<Schemas['TransactionBody']>;
/** An account's consent to run a contract's code (EIP-7702). */
export type Authorization = WithBigInts<Schemas['AuthorizationBody']>;
/** A signed authorization, as `authorizationList` takes it, and the digest that was signed. */
export type SignedAuthorization = Schemas['SignedAuthorizationView'];
/** Whether the token's policy would allow a signature; `reason` says why not, if not. */
export type Foreseen = Schemas['ForeseenView'];
/** EIP-712 typed data, as `eth_signTypedData_v4` takes it. */
export type TypedData = Schemas['TypedDataBody'];

/** A private key that travelled encrypted: 32 bytes, now in this process's memory. */
export interface ExportedKey {
  readonly walletAddress: string;
  readonly privateKey: Uint8Array;
}

/** JSON, with bigints as decimal text and bytes as 0x hex. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_, member: unknown) => {
    if (typeof member === 'bigint') return member.toString();
    return member instanceof Uint8Array ? toHex(member) : member;
  });
}

/** 0x and two digits per byte. */
export function toHex(bytes: Uint8Array): string {
  return '0x' + Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
