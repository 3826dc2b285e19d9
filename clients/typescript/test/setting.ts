// The service and the chain for these tests, as the environment names them.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

import { KmsServiceClient } from '@kms-service/client';
import type { InterfaceAbi } from 'ethers';

export const baseUrl = given('KMS_SERVICE_URL');
export const token = given('KMS_SERVICE_TOKEN');
export const rpcUrl = given('RPC_URL');
export const client = new KmsServiceClient({ baseUrl, token });

/** The contract as `compile-contract.mjs` left it. */
export const contract = JSON.parse(readFileSync(given('CONTRACT'), 'utf8')) as {
  abi: InterfaceAbi;
  bytecode: `0x${string}`;
};

/** Give an address ten ether, from nowhere. */
export async function fund(address: string): Promise<void> {
  await rpc('anvil_setBalance', [address, '0x8ac7230489e80000']);
}

async function rpc(method: string, params: unknown[]): Promise<void> {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
  const headers = { 'Content-Type': 'application/json' };
  const answer = (await (await fetch(rpcUrl, { method: 'POST', headers, body })).json()) as { error?: unknown };
  assert.equal(answer.error, undefined);
}

function given(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}
