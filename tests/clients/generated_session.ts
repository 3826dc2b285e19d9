// What a user of openapi-typescript's types does: `node generated_session.js SERVICE TOKEN`; asserts what it sees.
import assert from 'node:assert/strict';

import createClient from 'openapi-fetch';

import type { operations, paths } from './openapi.js';

const [baseUrl, token] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: baseUrl!, headers: { Authorization: `Bearer ${token}` } });
const userId = 'generated-typescript';

const made = await client.POST('/wallets', { body: { userId } });
assert.equal(made.response.status, 201);
const found = await client.GET('/wallets/{userId}', { params: { path: { userId } } });
assert.deepEqual(found.data, made.data);
const body: operations['signTransaction']['requestBody']['content']['application/json'] = {
  transaction: { chainId: 1, nonce: 0, gas: 21000, gasPrice: '5', to: `0x${'35'.repeat(20)}`, value: (10n ** 18n).toString() },
};
const signed = await client.POST('/wallets/{userId}/sign/transaction', { params: { path: { userId } }, body });
assert(signed.data && 'rawTransaction' in signed.data); // not what a dry run answers
assert.equal(signed.data.walletAddress, made.data?.walletAddress);
const again = await client.POST('/wallets', { body: { userId } });
assert.equal(again.error?.code, 'wallet_exists');
console.log('all went through');
