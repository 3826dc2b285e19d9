// Signatures per second through the service, compared with ethers.Wallet in process: `node benchmark.mjs SERVICE TOKEN COUNT`.
// Prints JSON. benchmarks/signing.py runs it.
import { createServer, request as httpRequest, Agent } from 'node:http';

import { KmsServiceClient } from '@kms-service/client';
import { KmsServiceSigner } from '@kms-service/client/ethers';
import { Transaction, Wallet } from 'ethers';

const [service, token, count] = process.argv.slice(2);
const USER = 'benchmark-signer';

/** A proxy to the service that counts connections and requests. */
async function counting() {
  const seen = { connections: 0, requests: 0 };
  const agent = new Agent({ keepAlive: true });
  const { hostname, port } = new URL(service);
  const proxy = createServer((request, response) => {
    seen.requests += 1;
    const { method, url: path, headers } = request;
    const onward = httpRequest({ hostname, port, method, path, headers, agent }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    request.pipe(onward);
  });
  proxy.on('connection', () => (seen.connections += 1));
  await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const close = () => (proxy.close(), proxy.closeAllConnections(), agent.destroy());
  return { url: `http://127.0.0.1:${proxy.address().port}`, seen, close };
}

/** Signatures per second with `atOnce` at a time, and the caller's own milliseconds of CPU for each. */
async function rate(signer, total, atOnce) {
  let nonce = 0;
  const cpu = process.cpuUsage();
  const one = async () => {
    while (nonce < total) await signer.signTransaction(transaction(nonce++));
  };
  const started = performance.now();
  await Promise.all(Array.from({ length: atOnce }, one));
  const { user, system } = process.cpuUsage(cpu);
  const perSecond = Math.round((total * 1000) / (performance.now() - started));
  return { 'per second': perSecond, 'CPU of the caller, ms': Number(((user + system) / 1000 / total).toFixed(2)) };
}

function transaction(nonce) {
  const to = '0x3535353535353535353535353535353535353535';
  const fees = { maxFeePerGas: 2n * 10n ** 9n, maxPriorityFeePerGas: 10n ** 9n };
  return { type: 2, chainId: 1, nonce, gasLimit: 21000, to, value: 10n ** 18n, ...fees };
}

const client = new KmsServiceClient({ baseUrl: service, token });
await client.ensureWallet(USER);
const wallet = new Wallet((await client.getPrivateKey(USER)).privateKey);
const signer = new KmsServiceSigner(client, USER);
const same = (await signer.signTransaction(transaction(7))) === (await wallet.signTransaction(transaction(7)));
if (!same || Transaction.from(await signer.signTransaction(transaction(7))).from !== wallet.address) {
  throw new Error('the signatures differ');
}
const total = Number(count);
const report = { signatures: total };
await rate(wallet, total / 10, 1);
report['ethers.Wallet in process'] = await rate(wallet, total, 1);
for (const atOnce of [1, 8, 32]) {
  await rate(signer, total / 10, atOnce);
  report[`KmsServiceSigner, ${atOnce} at a time`] = await rate(signer, total, atOnce);
}
const counted = await counting();
const throughProxy = new KmsServiceSigner(new KmsServiceClient({ baseUrl: counted.url, token }), USER);
await throughProxy.getAddress();
await rate(throughProxy, total, 1);
counted.close();
console.log(JSON.stringify({ ...report, 'requests of one at a time': counted.seen.requests, connections: counted.seen.connections }));
