// The ported service's callers, as they are: axios with a base URL and a time-out, ethers for the key. What is
// new is one default header. Prints one JSON line of what they read.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';

import axios from 'axios';
import { Wallet } from 'ethers';

const { KMS_SERVICE_URL: baseURL, KMS_SERVICE_TOKEN: token, VERIFIER_ADDRESS: verifierAddress } = process.env;
const timeout = 30_000;
const http = axios.create({ baseURL, timeout, headers: { Authorization: `Bearer ${token}` } });

// Without the header there is no way in.
await assert.rejects(axios.create({ baseURL, timeout }).post('/wallets', { userId: randomUUID() }), (error) => {
  assert.equal(error.response.status, 401);
  assert.equal(error.response.statusText, 'Unauthorized');
  return true;
});

// Sign-up makes a wallet, sends the address to a faucet, and stores the key.
const userId = randomUUID();
const created = await http.post('/wallets', { userId });
assert.equal(created.status, 201);
const { walletAddress, compressedPublicKey } = created.data;
await assert.rejects(http.post('/wallets', { userId }), (error) => {
  assert.equal(error.response.status, 409);
  assert.equal(error.response.statusText, 'Conflict');
  return true;
});

// The job worker makes a signer of the private key.
const { data: read } = await http.get(`/wallets/users/${userId}/private-key`);
const wallet = new Wallet(read.privateKey);
assert.equal(wallet.address, walletAddress);
assert.equal(wallet.signingKey.compressedPublicKey, compressedPublicKey);
await assert.rejects(http.get(`/wallets/users/${randomUUID()}/private-key`), (error) => {
  assert.equal(error.response.status, 404);
  assert.equal(error.response.statusText, 'Not Found');
  return true;
});
const { data: platform } = await http.get('/wallets/platform/verifier-private-key');
assert.equal(new Wallet(platform.privateKey).address, verifierAddress);

// People look at the pool, and the load balancer at a status code.
const { data: pool } = await http.get('/kms/status');
for (const key of pool.keys) {
  for (const member of ['keyId', 'alias', 'region', 'status', 'creationDate']) assert.equal(typeof key[member], 'string');
}
assert.ok(pool.currentActiveKeys.every((keyId) => pool.keys.some((key) => key.keyId === keyId)));
assert.equal(typeof pool.rotationSchedule.enabled, 'boolean');
assert.ok('intervalMonths' in pool.rotationSchedule);
assert.equal((await http.get('/health')).status, 200);

console.log(JSON.stringify({ userId, walletAddress }));
