import { InvalidUserId, UnexpectedAnswer } from './errors.js';
import { exportRecipient } from './export.js';
import { sealImport, type ImportOffer } from './import.js';
import { Http, type KmsServiceClientOptions } from './http.js';
import type { components } from './openapi.js';
import {
  toHex,
  type Authorization,
  type BatchResult,
  type ExportedKey,
  type Foreseen,
  type PrivateKey,
  type Signature,
  type SignedAuthorization,
  type SignedTransaction,
  type TransactionToSign,
  type TypedData,
  type Wallet,
  type WalletPage,
} from './values.js';

const BATCH_USERS = 100;
const PAGE_WALLETS = 500;
const DRY_RUN = '?dryRun=true';
const USER_ID = /^[A-Za-z0-9._:@-]{1,128}$/;

/**
 * A kms-service client with one token, over kept connections.
 *
 * Every method rejects with a `KmsServiceError`: a `Problem` with the service's code, or `Unreachable`. A call is
 * repeated automatically where that is safe, after the time that the service names.
 */
export class KmsServiceClient {
  readonly #http: Http;

  constructor(options: KmsServiceClientOptions) {
    this.#http = new Http(options);
  }

  /** Create a wallet for a user who has none; else `wallet_exists` with the member `walletAddress`. */
  async createWallet(userId: string): Promise<Wallet> {
    return this.#post('/wallets', { userId }, 'if-nothing-happened');
  }

  /** Get the user's wallet, or create it if there is none. Idempotent. */
  async ensureWallet(userId: string): Promise<Wallet> {
    return (await this.#http.send({ method: 'PUT', path: walletPath(userId), repeatable: 'always' })) as Wallet;
  }

  /** Find or create many wallets, a hundred per request; one result per user, whatever fails. */
  async ensureWallets(userIds: readonly string[]): Promise<BatchResult[]> {
    const results: BatchResult[] = [];
    for (let start = 0; start < userIds.length; start += BATCH_USERS) {
      const body = { userIds: userIds.slice(start, start + BATCH_USERS) };
      results.push(...(await this.#post<components['schemas']['BatchResults']>('/wallets/batch', body)).results);
    }
    return results;
  }

  /** Get a user's wallet, without its secrets; else `wallet_not_found`. */
  async getWallet(userId: string): Promise<Wallet> {
    return this.#get(walletPath(userId));
  }

  /** Get a page of up to `limit` wallets (default 100, maximum 500); with `kmsKeyId` (an ARN) of one key only. */
  async listWallets(query: { limit?: number; cursor?: string; kmsKeyId?: string } = {}): Promise<WalletPage> {
    const given = Object.entries(query).filter(([, value]) => value !== undefined);
    const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
    return this.#get(`/wallets?${search}`);
  }

  /** All wallets in order of user id, read a page at a time as you go; refused ones are left out. */
  async *wallets(query: { kmsKeyId?: string; pageSize?: number } = {}): AsyncGenerator<Wallet, void> {
    const { pageSize = PAGE_WALLETS, ...filter } = query;
    let cursor: string | null = '';
    while (cursor !== null) {
      const page: WalletPage = await this.listWallets({ ...filter, limit: pageSize, ...(cursor && { cursor }) });
      yield* page.wallets;
      cursor = page.nextCursor;
    }
  }

  /** Get the bare private key. Prefer a signature, or `exportPrivateKey`. */
  async getPrivateKey(userId: string): Promise<PrivateKey> {
    return this.#get(`${walletPath(userId)}/private-key`);
  }

  /** Get the bare private key of the platform's verifier, the user that the service's settings name. */
  async getVerifierPrivateKey(): Promise<PrivateKey> {
    return this.#get('/wallets/platform/verifier-private-key');
  }

  /** Get the private key, encrypted in transit to a key pair made for this call. */
  async exportPrivateKey(userId: string): Promise<ExportedKey> {
    const recipient = await exportRecipient();
    const body = { recipientPublicKey: recipient.publicKey };
    const path = `${walletPath(userId)}/private-key/export`;
    const encrypted = await this.#post<components['schemas']['SealedExportView']>(path, body);
    try {
      return await recipient.open(encrypted);
    } catch {
      throw new UnexpectedAnswer(200, null);
    }
  }

  /** Import a private key (32 bytes) or a phrase (12 to 24 English words), encrypted in transit. */
  async importWallet(userId: string, secret: Uint8Array | string): Promise<Wallet> {
    const path = `${walletPath(userId)}/import`;
    const offer = (await this.#http.send({ method: 'POST', path: '/wallet-imports', repeatable: 'always' })) as ImportOffer;
    const body = await sealImport(offer, secret, userId);
    return (await this.#http.send({ method: 'PUT', path, body, repeatable: 'if-nothing-happened' })) as Wallet;
  }

  /** Sign a message (EIP-191, personal_sign): a text, as UTF-8, or bytes. */
  async signMessage(userId: string, message: string | Uint8Array): Promise<Signature> {
    return this.#post(`${walletPath(userId)}/sign/message`, messageBody(message));
  }

  /** Sign typed data (EIP-712); bigints and bytes in it are sent as text. */
  async signTypedData(userId: string, typedData: TypedData): Promise<Signature> {
    return this.#post(`${walletPath(userId)}/sign/typed-data`, typedData);
  }

  /** Sign a transaction whose fields are all filled in. Sends nothing to any chain. */
  async signTransaction(userId: string, transaction: TransactionToSign): Promise<SignedTransaction> {
    return this.#post(`${walletPath(userId)}/sign/transaction`, { transaction });
  }

  /**
   * Sign the account's consent to run a contract's code (EIP-7702). Needs the scope `wallets:delegate`: whoever can
   * get this signed can empty the wallet.
   */
  async signAuthorization(userId: string, authorization: Authorization): Promise<SignedAuthorization> {
    return this.#post(`${walletPath(userId)}/sign/authorization`, authorization);
  }

  /** Whether the token's policy allows signing this message; nothing is signed. */
  async foreseeMessage(userId: string, message: string | Uint8Array): Promise<Foreseen> {
    return this.#post(`${walletPath(userId)}/sign/message${DRY_RUN}`, messageBody(message));
  }

  /** Whether the token's policy allows signing this typed data; nothing is signed. */
  async foreseeTypedData(userId: string, typedData: TypedData): Promise<Foreseen> {
    return this.#post(`${walletPath(userId)}/sign/typed-data${DRY_RUN}`, typedData);
  }

  /** Whether the token's policy allows signing this transaction; nothing is signed. */
  async foreseeTransaction(userId: string, transaction: TransactionToSign): Promise<Foreseen> {
    return this.#post(`${walletPath(userId)}/sign/transaction${DRY_RUN}`, { transaction });
  }

  async #get<R>(path: string): Promise<R> {
    return (await this.#http.send({ method: 'GET', path, repeatable: 'always' })) as R;
  }

  async #post<R>(path: string, body: unknown, repeatable: 'always' | 'if-nothing-happened' = 'always'): Promise<R> {
    return (await this.#http.send({ method: 'POST', path, body, repeatable })) as R;
  }
}

function messageBody(message: string | Uint8Array): object {
  return typeof message === 'string' ? { message } : { messageHex: toHex(message) };
}

function walletPath(userId: string): string {
  // A user id with a slash or dots in it would name another route.
  if (!USER_ID.test(userId) || userId === '.' || userId === '..') {
    throw new InvalidUserId('a user id has 1 to 128 of A-Z a-z 0-9 . _ : @ - and is not . or ..');
  }
  return `/wallets/${encodeURIComponent(userId)}`;
}
