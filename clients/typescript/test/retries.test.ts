import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mock, test } from 'node:test';

import { KmsServiceClient, KmsServiceError, Problem, Unreachable, type Retries } from '@kms-service/client';

import { baseUrl, client, token } from './setting.js';

type Step = Response | Error;
type Call = (client: KmsServiceClient) => Promise<unknown>;

const SIGNATURE = { walletAddress: '0x', signature: '0x', messageHash: '0x' };
const sign: Call = (client) => client.signMessage('alice', 'hello');
const create: Call = (client) => client.createWallet('alice');

function refusal(status: number, code: string, retryAfter?: string): Response {
  const members = { type: 'about:blank', title: 'T', status, detail: 'D', code, requestId: 'r' };
  return Response.json(members, { status, headers: retryAfter ? { 'Retry-After': retryAfter } : {} });
}

function lost(code: string): Error {
  return Object.assign(new TypeError('fetch failed'), { cause: { code } });
}

/** The result of a call over a network that answers with these steps, the number of requests, and the waits. */
async function attempt(call: Call, steps: Step[], retries: Partial<Retries> = {}) {
  const waits: number[] = [];
  let requests = 0;
  const timers = mock.method(globalThis, 'setTimeout', (resolve: () => void, milliseconds: number) => {
    waits.push(milliseconds / 1000);
    queueMicrotask(resolve);
  });
  const scripted: typeof fetch = async () => {
    requests += 1;
    const step = steps.shift() ?? new Response('no more', { status: 500 });
    if (step instanceof Error) throw step;
    return step;
  };
  try {
    const scriptedClient = new KmsServiceClient({ baseUrl, token, retries, fetch: scripted });
    const result = await call(scriptedClient).catch((error: unknown) => error);
    return { result, requests, waits };
  } finally {
    timers.mock.restore();
  }
}

const code = (result: unknown) => (result instanceof Problem ? result.code : result);

test('it waits as long as the service says', async () => {
  const steps = [refusal(503, 'overloaded', '3'), refusal(429, 'rate_limited', '7'), Response.json(SIGNATURE)];
  assert.deepEqual(await attempt(sign, steps), { result: SIGNATURE, requests: 3, waits: [3, 7] });
});

test('it waits no longer than its patience', async () => {
  const { result, requests } = await attempt(sign, [refusal(429, 'rate_limited', '59')]);
  assert(result instanceof Problem);
  assert.equal(result.retryAfter, 59);
  assert.equal(requests, 1);
});

test('it gives up after its attempts, waiting longer each time', async () => {
  const steps = Array.from({ length: 9 }, () => refusal(503, 'kms_throttled'));
  const { result, requests, waits } = await attempt(sign, steps, { attempts: 3 });
  assert.equal(code(result), 'kms_throttled');
  assert.equal(requests, 3);
  assert(waits.every((wait, index) => wait >= 0.1 * 2 ** index && wait <= 0.2 * 2 ** index), String(waits));
});

test('a lasting failure is not retried', async () => {
  const answers: [number, string][] = [
    [503, 'kms_key_unusable'], [503, 'no_usable_key'], [503, 'sealed'],
    [404, 'wallet_not_found'], [422, 'invalid_request'], [500, 'integrity_failure'],
  ];
  for (const [status, name] of answers) {
    const { result, requests } = await attempt(sign, [refusal(status, name, '2')]);
    assert.deepEqual([code(result), requests], [name, 1]);
  }
});

test('a create is repeated only if it certainly did not happen', async () => {
  for (const name of ['database_unavailable', 'audit_unavailable', 'deadline_exceeded']) {
    assert.equal((await attempt(create, [refusal(503, name, '2')])).requests, 1, name);
  }
  for (const first of [refusal(429, 'rate_limited', '1'), refusal(503, 'kms_throttled', '1'), lost('ECONNREFUSED')]) {
    assert.equal((await attempt(create, [first, Response.json({})])).requests, 2);
  }
  const { result, requests } = await attempt(create, [lost('ECONNRESET')]);
  assert(result instanceof Unreachable);
  assert.deepEqual([result.neverSent, requests], [false, 1]);
});

test('a lost answer is asked for again', async () => {
  assert.deepEqual((await attempt(sign, [lost('ECONNRESET'), Response.json(SIGNATURE)])).result, SIGNATURE);
});

test('a port where nothing listens is unreachable', async () => {
  const nowhere = new KmsServiceClient({ baseUrl: 'http://127.0.0.1:9', token, retries: { attempts: 1 } });
  await assert.rejects(nowhere.getWallet('alice'), (error: unknown) => error instanceof Unreachable);
});

test('an answer that does not come times out', async () => {
  const silent: typeof fetch = (_, init) =>
    new Promise((_, reject) => init?.signal?.addEventListener('abort', () => reject(init.signal?.reason as Error)));
  const waiting = new KmsServiceClient({ baseUrl, token, timeout: 20, retries: { attempts: 1 }, fetch: silent });
  // The signal alone does not keep the process alive.
  const alive = setInterval(() => undefined, 1000);
  await assert.rejects(waiting.getWallet('alice'), (error: unknown) => error instanceof KmsServiceError && /TimeoutError/.test(error.message));
  clearInterval(alive);
});

test('signing takes one request per signature, over kept connections', async () => {
  await client.ensureWallet('ts-kept');
  const connections = new Set<unknown>();
  let requests = 0;
  const proxy = createServer((request: IncomingMessage, response: ServerResponse) => {
    requests += 1;
    connections.add(request.socket);
    void forward(request, response);
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const counted = new KmsServiceClient({ baseUrl: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`, token });
  for (let number = 0; number < 20; number += 1) await counted.signMessage('ts-kept', `message ${number}`);
  proxy.close();
  proxy.closeAllConnections();
  // Node's fetch opens a second one while it returns the first.
  assert(connections.size <= 2, String(connections.size));
  assert.equal(requests, 20);
});

async function forward(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const headers = { Authorization: request.headers.authorization ?? '', 'Content-Type': 'application/json' };
  const body = Buffer.concat(chunks);
  const answer = await fetch(baseUrl + request.url, { method: request.method ?? 'GET', headers, body });
  response.writeHead(answer.status, { 'Content-Type': 'application/json' }).end(await answer.text());
}
