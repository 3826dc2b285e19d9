import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { inspect } from 'node:util';

import { computeAddress } from 'ethers';
import { InvalidUserId, KmsServiceClient, Problem, UnexpectedAnswer } from '@kms-service/client';

import { baseUrl, client, token } from './setting.js';

const refused = (code: string) => (error: unknown) => error instanceof Problem && error.code === code;

test('a wallet is created, read and ensured', async () => {
  const made = await client.createWallet('ts-alice');
  assert.equal(made.userId, 'ts-alice');
  assert.deepEqual(await client.getWallet('ts-alice'), made);
  assert.deepEqual(await client.ensureWallet('ts-alice'), made);
});

test("a second creation names the first one's address", async () => {
  const { walletAddress } = await client.ensureWallet('ts-twice');
  await assert.rejects(client.createWallet('ts-twice'), (error: unknown) => {
    assert(error instanceof Problem);
    assert.equal(error.code, 'wallet_exists');
    assert.equal(error.status, 409);
    assert.equal(error.members['walletAddress'], walletAddress);
    assert(error.requestId);
    return true;
  });
});

test('a batch answers in order, and pages follow one another', async () => {
  await client.ensureWallet('ts-page-1');
  const users = ['ts-page-0', 'ts-page-1', 'ts-page-2'];
  const results = await client.ensureWallets(users);
  assert.deepEqual(results.map((result) => [result.userId, result.status]), [
    ['ts-page-0', 201],
    ['ts-page-1', 200],
    ['ts-page-2', 201],
  ]);
  const found: string[] = [];
  for await (const wallet of client.wallets({ pageSize: 2 })) found.push(wallet.userId);
  assert.deepEqual(found.filter((user) => users.includes(user)), users);
});

test('a batch of more than a hundred is split into requests', async () => {
  const sizes: number[] = [];
  const counting: typeof fetch = async (_, init) => {
    const { userIds } = JSON.parse(String(init?.body)) as { userIds: string[] };
    sizes.push(userIds.length);
    return Response.json({ results: userIds.map((userId) => ({ userId, status: 200 })) });
  };
  const users = Array.from({ length: 201 }, (_, number) => `u${number}`);
  const results = await new KmsServiceClient({ baseUrl, token, fetch: counting }).ensureWallets(users);
  assert.deepEqual(sizes, [100, 100, 1]);
  assert.deepEqual(results.map((result) => result.userId), users);
});

test('an export decrypts to the private key', async () => {
  await client.ensureWallet('ts-export');
  const bare = await client.getPrivateKey('ts-export');
  const exported = await client.exportPrivateKey('ts-export');
  assert.equal('0x' + Buffer.from(exported.privateKey).toString('hex'), bare.privateKey);
  assert.equal(exported.walletAddress, bare.walletAddress);
});

test('a key is imported, encrypted', async () => {
  const key = '0x' + '07'.repeat(32);
  const wallet = await client.importWallet('ts-import', Buffer.from('07'.repeat(32), 'hex'));
  assert.equal(wallet.walletAddress, computeAddress(key));
  assert.equal((await client.getPrivateKey('ts-import')).privateKey, key);
  await assert.rejects(client.importWallet('ts-import-2', 'abandon '.repeat(12).trim()), refused('invalid_request'));
});

test('problems have their codes', async () => {
  await assert.rejects(client.getWallet('ts-nobody'), refused('wallet_not_found'));
  const stranger = new KmsServiceClient({ baseUrl, token: 'wrong' });
  await assert.rejects(stranger.getWallet('ts-nobody'), refused('not_authenticated'));
  await assert.rejects(client.signTransaction('ts-nobody', { chainId: 1, nonce: 0 }), refused('invalid_request'));
});

test('a user id cannot name another route', async () => {
  for (const userId of ['', '.', '..', 'a/b', 'a?b', 'a%2Fb', 'ä', 'a\n', 'a'.repeat(129)]) {
    await assert.rejects(client.getWallet(userId), InvalidUserId);
  }
});

test('bigints and bytes arrive whole', async () => {
  await client.ensureWallet('ts-values');
  const domain = { name: 'Shop' };
  const types = { Order: [{ name: 'id', type: 'uint256' }, { name: 'note', type: 'bytes' }] };
  const signed = await client.signTypedData('ts-values', {
    domain, types, message: { id: 2n ** 200n, note: new Uint8Array([1, 2]) },
  });
  const written = { domain, types, message: { id: (2n ** 200n).toString(), note: '0x0102' } };
  assert.deepEqual(signed, await client.signTypedData('ts-values', written));
  assert.deepEqual(
    await client.signMessage('ts-values', 'grüße'),
    await client.signMessage('ts-values', new TextEncoder().encode('grüße')),
  );
});

test('a dry run tells what the policy would allow', async () => {
  await client.ensureWallet('ts-foreseen');
  assert.equal((await client.foreseeMessage('ts-foreseen', 'hello')).allowed, true);
  const transaction = { chainId: 1, nonce: 0, gas: 21000, gasPrice: 5n, to: '0x' + '35'.repeat(20) };
  assert.equal((await client.foreseeTransaction('ts-foreseen', transaction)).policy, null);
});

test('neither the client nor an error shows the token', async () => {
  const error: unknown = await client.getWallet('ts-nobody').catch((caught: unknown) => caught);
  assert(!inspect([client, error], { depth: 9, showHidden: true }).includes(token));
});

test('an answer of something else is not taken for the service', async () => {
  for (const page of [new Response('<h1>Bad gateway</h1>', { status: 502 }), new Response('ok'), Response.json(null, { status: 500 })]) {
    const behindProxy = new KmsServiceClient({ baseUrl, token, fetch: async () => page });
    await assert.rejects(behindProxy.getWallet('alice'), UnexpectedAnswer);
  }
});

test('CommonJS code gets the same client', async () => {
  const required = createRequire(import.meta.url)('@kms-service/client') as typeof import('@kms-service/client');
  const other = new required.KmsServiceClient({ baseUrl, token });
  assert.deepEqual(await other.ensureWallet('ts-alice'), await client.ensureWallet('ts-alice'));
  assert.equal((await other.exportPrivateKey('ts-alice')).privateKey.length, 32);
});
