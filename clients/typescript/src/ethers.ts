import {
  AbstractSigner,
  assert,
  assertArgument,
  copyRequest,
  getAddress,
  getBigInt,
  resolveAddress,
  Signature,
  Transaction,
  TypedDataEncoder,
  type Authorization,
  type AuthorizationRequest,
  type Provider,
  type TransactionLike,
  type TransactionRequest,
  type TypedDataDomain,
  type TypedDataField,
} from 'ethers';

import type { KmsServiceClient } from './client.js';
import type { TransactionToSign, TypedData } from './values.js';

const SIGNED_TYPES = new Set([0, 1, 2, 4]);

/**
 * An ethers v6 signer for a user's wallet whose key stays in the service; use it wherever an `ethers.Wallet` is used.
 *
 * The client's token needs `wallets:read` (for the address, read once) and `wallets:sign`. Nonces, gas and
 * broadcasting are the provider's, as with any signer; `NonceManager` can wrap it.
 */
export class KmsServiceSigner extends AbstractSigner<Provider | null> {
  readonly userId: string;
  readonly #client: KmsServiceClient;
  #address: Promise<string> | undefined;

  constructor(client: KmsServiceClient, userId: string, provider: Provider | null = null) {
    super(provider);
    this.userId = userId;
    this.#client = client;
  }

  /** The same wallet over another provider. */
  override connect(provider: Provider | null): KmsServiceSigner {
    const connected = new KmsServiceSigner(this.#client, this.userId, provider);
    connected.#address = this.#address;
    return connected;
  }

  override async getAddress(): Promise<string> {
    this.#address ??= this.#client.getWallet(this.userId).then((wallet) => wallet.walletAddress);
    try {
      return await this.#address;
    } catch (error) {
      this.#address = undefined; // the next call asks again
      throw error;
    }
  }

  override async signMessage(message: string | Uint8Array): Promise<string> {
    return (await this.#client.signMessage(this.userId, message)).signature;
  }

  override async signTypedData(
    domain: TypedDataDomain,
    types: Record<string, TypedDataField[]>,
    value: Record<string, unknown>,
  ): Promise<string> {
    const resolved = await TypedDataEncoder.resolveNames(domain, types, value, async (name) => {
      assert(this.provider !== null, 'a name needs a provider', 'UNSUPPORTED_OPERATION', { operation: 'resolveName' });
      return resolveAddress(name, this.provider);
    });
    const payload = TypedDataEncoder.getPayload(resolved.domain, types, resolved.value) as TypedData;
    return (await this.#client.signTypedData(this.userId, payload)).signature;
  }

  /** Sign the account's consent to run a contract's code (EIP-7702); the token also needs `wallets:delegate`. */
  override async authorize(request: AuthorizationRequest): Promise<Authorization> {
    const { address, chainId, nonce } = await this.populateAuthorization(request);
    const delegate = await resolveAddress(address, this.provider);
    const asked = { chainId: getBigInt(chainId ?? 0), address: delegate, nonce: getBigInt(nonce ?? 0) };
    const { authorization } = await this.#client.signAuthorization(this.userId, asked);
    return { ...asked, signature: Signature.from(authorization as { r: string; s: string; yParity: 0 | 1 }) };
  }

  override async signTransaction(request: TransactionRequest): Promise<string> {
    // Copied by name: sendTransaction passes a Transaction, whose fields do not spread.
    const { from, to, ...rest } = copyRequest(request);
    if (from != null) {
      const sender = await resolveAddress(from, this.provider);
      assertArgument(getAddress(sender) === (await this.getAddress()), 'not the address of this signer', 'from', from);
    }
    const recipient = to == null ? {} : { to: await resolveAddress(to, this.provider) };
    const transaction = Transaction.from({ ...rest, ...recipient } as TransactionLike<string>);
    return (await this.#client.signTransaction(this.userId, fieldsOf(transaction))).rawTransaction;
  }
}

// The type is always sent: from a bare gasPrice, ethers and the service infer different ones.
function fieldsOf(transaction: Transaction): TransactionToSign {
  const type = transaction.type ?? transaction.inferType();
  assert(SIGNED_TYPES.has(type), `transactions of type ${type} are not signed`, 'UNSUPPORTED_OPERATION', {
    operation: 'signTransaction',
  });
  const { chainId, nonce, gasLimit, to, value, data, accessList } = transaction;
  const { gasPrice, maxFeePerGas, maxPriorityFeePerGas } = transaction;
  const fees = type >= 2 ? { maxFeePerGas, maxPriorityFeePerGas } : { gasPrice };
  const fields: TransactionToSign = { type, chainId, nonce, gasLimit, to, value, data, ...fees };
  if (type > 0 && accessList) fields.accessList = accessList;
  if (type === 4 && transaction.authorizationList) {
    fields.authorizationList = transaction.authorizationList.map(({ signature: { r, s, yParity }, ...rest }) => {
      return { ...rest, yParity, r, s };
    });
  }
  return fields;
}
