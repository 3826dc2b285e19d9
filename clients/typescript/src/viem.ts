import {
  BaseError,
  getTransactionType,
  getTypesForEIP712Domain,
  hexToBytes,
  serializeTransaction,
  serializeTypedData,
  stringToBytes,
  type Hex,
  type LocalAccount,
  type NonceManager,
  type SerializeTransactionFn,
  type SignableMessage,
  type TransactionSerializable,
  type TypedDataDefinition,
} from 'viem';
import { toAccount } from 'viem/accounts';

import type { KmsServiceClient } from './client.js';
import type { TransactionToSign, TypedData } from './values.js';

const TYPES: Readonly<Record<string, number>> = { legacy: 0, eip2930: 1, eip1559: 2, eip7702: 4 };

/**
 * A viem account for a user's wallet whose key stays in the service; use it wherever `privateKeyToAccount`'s is used.
 *
 * The client's token needs `wallets:read` (for the address, read once, here) and `wallets:sign`. Nonces, gas and
 * broadcasting are viem's, as with any local account; a `nonceManager` may be given, as to `privateKeyToAccount`.
 */
export async function toKmsServiceAccount(
  client: KmsServiceClient,
  userId: string,
  options: { nonceManager?: NonceManager } = {},
): Promise<LocalAccount> {
  const { walletAddress } = await client.getWallet(userId);
  return toAccount({
    address: walletAddress as Hex,
    ...options,
    async signMessage({ message }) {
      return (await client.signMessage(userId, bytesOf(message))).signature as Hex;
    },
    async signTransaction(transaction, signing) {
      await refuseOwnFormat(transaction, signing?.serializer as SerializeTransactionFn | undefined);
      return (await client.signTransaction(userId, fieldsOf(transaction))).rawTransaction as Hex;
    },
    async signAuthorization(request) {
      const { chainId, nonce } = request;
      const address = request.contractAddress ?? request.address;
      const { authorization } = await client.signAuthorization(userId, { chainId, address, nonce });
      const { r, s, yParity } = authorization as { r: Hex; s: Hex; yParity: 0 | 1 };
      return { address, chainId, nonce, r, s, v: BigInt(27 + yParity), yParity };
    },
    async signTypedData(definition) {
      return (await client.signTypedData(userId, plain(definition as TypedDataDefinition))).signature as Hex;
    },
  });
}

function bytesOf(message: SignableMessage): Uint8Array {
  if (typeof message === 'string') return stringToBytes(message);
  return typeof message.raw === 'string' ? hexToBytes(message.raw) : message.raw;
}

// viem's own serialization: decimal bigints, lower-case addresses. Without the domain's type it drops the domain.
function plain(definition: TypedDataDefinition): TypedData {
  const EIP712Domain = getTypesForEIP712Domain({ domain: definition.domain });
  const types = { EIP712Domain, ...definition.types };
  return JSON.parse(serializeTypedData({ ...definition, types } as TypedDataDefinition)) as TypedData;
}

// Some chains have their own transaction formats (Celo's fee currencies): the service would sign another transaction
// than the one asked for.
async function refuseOwnFormat(transaction: TransactionSerializable, serializer?: SerializeTransactionFn): Promise<void> {
  if (serializer && (await serializer(transaction)) !== serializeTransaction(transaction)) {
    throw new BaseError('this transaction has a format of its chain alone, which the service does not sign');
  }
}

function fieldsOf(transaction: TransactionSerializable): TransactionToSign {
  const name = getTransactionType(transaction);
  const type = TYPES[name];
  if (type === undefined) throw new BaseError(`transactions of type ${name} are not signed`);
  const { chainId, nonce, gas, to, value, data, accessList, authorizationList } = transaction;
  const { gasPrice, maxFeePerGas, maxPriorityFeePerGas } = transaction;
  // The service names what is missing: it fills in neither nonce nor fees.
  return {
    type, chainId, nonce, gas, to, value: value ?? 0n, data, gasPrice, maxFeePerGas, maxPriorityFeePerGas, accessList,
    authorizationList: authorizationList?.map(({ address, chainId, nonce, r, s, yParity }) => {
      return { address, chainId, nonce, r, s, yParity };
    }),
  } as TransactionToSign;
}
