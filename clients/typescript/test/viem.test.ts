import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { toKmsServiceAccount } from '@kms-service/client/viem';
import {
  createPublicClient, createWalletClient, defineChain, getAddress, http, parseAbi, parseSignature,
  recoverTypedDataAddress, serializeTransaction, verifyMessage, type Hex, type LocalAccount, type PrivateKeyAccount, type SerializeTransactionFn,
  type TransactionSerializableEIP1559,
} from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { createNonceManager, jsonRpc } from 'viem/nonce';

import { client, contract, fund, rpcUrl } from './setting.js';

const abi = parseAbi([
  'constructor(uint256 supply)',
  'function transfer(address to, uint256 value) returns (bool)',
  'function balanceOf(address) view returns (uint256)',
  'function allowance(address, address) view returns (uint256)',
  'function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s)',
]);
const nativeCurrency = { name: 'Ether', symbol: 'ETH', decimals: 18 };
const chain = defineChain({ id: 31337, name: 'Local', nativeCurrency, rpcUrls: { default: { http: [rpcUrl] } } });
const reader = createPublicClient({ chain, transport: http(), pollingInterval: 50 });
const FRIEND = getAddress(('0x' + '36'.repeat(20)) as Hex);
let account: LocalAccount;
let local: PrivateKeyAccount; // the same key in process, to compare with
let token: Hex;

before(async () => {
  await client.ensureWallet('viem-alice');
  account = await toKmsServiceAccount(client, 'viem-alice');
  local = privateKeyToAccount((await client.getPrivateKey('viem-alice')).privateKey as Hex);
  await fund(account.address);
  const hash = await wallet().deployContract({ abi, bytecode: contract.bytecode, args: [1_000_000n] });
  token = (await reader.waitForTransactionReceipt({ hash })).contractAddress!;
});

function wallet() {
  return createWalletClient({ account, chain, transport: http() });
}

test('it has the address of its wallet', () => {
  assert.equal(account.address, local.address);
  assert.equal(account.type, 'local');
});

test('an ERC-20 transfer goes through', async () => {
  const { request } = await reader.simulateContract({ account, address: token, abi, functionName: 'transfer', args: [FRIEND, 1234n] });
  const receipt = await reader.waitForTransactionReceipt({ hash: await wallet().writeContract(request) });
  assert.equal(receipt.status, 'success');
  assert.equal(await reader.readContract({ address: token, abi, functionName: 'balanceOf', args: [FRIEND] }), 1234n);
});

test('it signs transactions as the key in process does', async () => {
  const accessList = [{ address: FRIEND, storageKeys: [('0x' + '07'.repeat(32)) as Hex] }];
  const fees = { maxFeePerGas: 2n * 10n ** 9n, maxPriorityFeePerGas: 10n ** 9n };
  const transactions = [
    { type: 'eip1559', chainId: 1, nonce: 0, gas: 21000n, to: FRIEND, value: 2n ** 70n, ...fees },
    { chainId: 1, nonce: 1, gas: 10n ** 6n, data: '0x6000', ...fees },
    { type: 'legacy', chainId: 137, nonce: 1, gas: 21000n, gasPrice: 5n, to: FRIEND },
    { type: 'eip2930', chainId: 1, nonce: 2, gas: 90000n, gasPrice: 1n, to: FRIEND, accessList },
    { type: 'eip1559', chainId: 1, nonce: 2, gas: 90000n, to: FRIEND, accessList, ...fees },
  ] as const;
  for (const transaction of transactions) {
    assert.equal(await account.signTransaction(transaction), await local.signTransaction(transaction));
  }
});

test('it signs messages as the key in process does', async () => {
  for (const message of ['', 'grüße', { raw: '0x00ff' as Hex }, { raw: new Uint8Array([0, 255]) }]) {
    assert.equal(await account.signMessage({ message }), await local.signMessage({ message }));
  }
  const signature = await account.signMessage({ message: 'hello' });
  assert(await verifyMessage({ address: local.address, message: 'hello', signature }));
});

test('a contract accepts the typed data that it signs', async () => {
  const uint256 = (name: string) => ({ name, type: 'uint256' });
  const address = (name: string) => ({ name, type: 'address' });
  const permit = {
    domain: { name: 'Token', version: '1', chainId: 31337, verifyingContract: token },
    types: { Permit: [address('owner'), address('spender'), uint256('value'), uint256('nonce'), uint256('deadline')] },
    primaryType: 'Permit',
    message: { owner: account.address, spender: FRIEND, value: 2n ** 200n, nonce: 0n, deadline: 2n ** 60n },
  } as const;
  const signature = await account.signTypedData(permit);
  assert.equal(signature, await local.signTypedData(permit));
  assert.equal(await recoverTypedDataAddress({ ...permit, signature }), local.address);
  const { v, r, s } = parseSignature(signature);
  const { owner, spender, value, deadline } = permit.message;
  const args = [owner, spender, value, deadline, Number(v), r, s] as const;
  const hash = await wallet().writeContract({ address: token, abi, functionName: 'permit', args });
  await reader.waitForTransactionReceipt({ hash });
  assert.equal(await reader.readContract({ address: token, abi, functionName: 'allowance', args: [owner, spender] }), value);
});

test('it signs authorizations, and transactions with them, as the key in process does', async () => {
  const consent = { chainId: 1, contractAddress: FRIEND, nonce: 1 } as const;
  const signed = await account.signAuthorization!(consent);
  assert.deepEqual(signed, await local.signAuthorization(consent));
  const fees = { maxFeePerGas: 2n * 10n ** 9n, maxPriorityFeePerGas: 10n ** 9n };
  const transaction = {
    type: 'eip7702', chainId: 1, nonce: 0, gas: 90000n, to: FRIEND, authorizationList: [signed], ...fees,
  } as const;
  assert.equal(await account.signTransaction(transaction), await local.signTransaction(transaction));
});

test('typed data without a domain is signed too', async () => {
  const plain = { types: { Note: [{ name: 'text', type: 'string' }] }, primaryType: 'Note', message: { text: 'x' } } as const;
  assert.equal(await account.signTypedData(plain), await local.signTypedData(plain));
});

test('it works with a nonce manager', async () => {
  const nonceManager = createNonceManager({ source: jsonRpc() });
  const managed = await toKmsServiceAccount(client, 'viem-alice', { nonceManager });
  const sender = createWalletClient({ account: managed, chain, transport: http() });
  const hashes = await Promise.all(Array.from({ length: 5 }, () => sender.sendTransaction({ to: FRIEND, value: 1n })));
  const receipts = await Promise.all(hashes.map((hash) => reader.waitForTransactionReceipt({ hash })));
  assert(receipts.every((receipt) => receipt.status === 'success'));
});

test('it refuses what it cannot sign', async () => {
  const fees = { maxFeePerGas: 2n, maxPriorityFeePerGas: 1n };
  const transaction = { chainId: 42220, nonce: 0, gas: 21000n, to: FRIEND, ...fees } as TransactionSerializableEIP1559;
  const celo = (async () => ('0x7b' + '00'.repeat(9)) as Hex) as unknown as SerializeTransactionFn;
  await assert.rejects(account.signTransaction(transaction, { serializer: celo }), /format of its chain/);
  assert(await account.signTransaction(transaction, { serializer: serializeTransaction }));
  const blobs = { ...transaction, type: 'eip4844', blobVersionedHashes: [], maxFeePerBlobGas: 1n } as never;
  await assert.rejects(account.signTransaction(blobs), /eip4844/);
  await assert.rejects(toKmsServiceAccount(client, 'viem-nobody'), { code: 'wallet_not_found' });
});
