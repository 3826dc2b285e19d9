import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { KmsServiceSigner } from '@kms-service/client/ethers';
import { Contract, ContractFactory, ethers, NonceManager, Signature, verifyMessage, verifyTypedData } from 'ethers';

import { baseUrl, client, contract, fund, rpcUrl, token } from './setting.js';
import { KmsServiceClient } from '@kms-service/client';

const provider = new ethers.JsonRpcProvider(rpcUrl, undefined, { cacheTimeout: -1, staticNetwork: true });
const signer = new KmsServiceSigner(client, 'ethers-alice', provider);
const FRIEND = ethers.getAddress('0x' + '35'.repeat(20));
let wallet: ethers.Wallet; // the same key in process, to compare with
let erc20: Contract;

before(async () => {
  await client.ensureWallet('ethers-alice');
  wallet = new ethers.Wallet((await client.getPrivateKey('ethers-alice')).privateKey, provider);
  await fund(await signer.getAddress());
  const factory = new ContractFactory(contract.abi, contract.bytecode, signer);
  erc20 = (await (await factory.deploy(1_000_000n)).waitForDeployment()) as Contract;
});

test('it has the address of its wallet', async () => {
  assert.equal(await signer.getAddress(), wallet.address);
});

test('an ERC-20 transfer goes through', async () => {
  const receipt = await (await erc20.getFunction('transfer')(FRIEND, 1234n)).wait();
  assert.equal(receipt.status, 1);
  assert.equal(receipt.from, wallet.address);
  assert.equal(await erc20.getFunction('balanceOf')(FRIEND), 1234n);
});

test('ether is sent with every type of transaction', async () => {
  const before = await provider.getBalance(FRIEND);
  for (const request of [{}, { type: 0 }, { type: 1 }, { type: 2 }, { gasPrice: ethers.parseUnits('2', 'gwei') }]) {
    const receipt = await (await signer.sendTransaction({ to: FRIEND, value: 5n, ...request })).wait();
    assert.equal(receipt?.status, 1);
  }
  assert.equal(await provider.getBalance(FRIEND), before + 25n);
});

test('it signs transactions as the key in process does', async () => {
  const fees = { maxFeePerGas: 2n * 10n ** 9n, maxPriorityFeePerGas: 10n ** 9n };
  const accessList = [{ address: FRIEND, storageKeys: ['0x' + '07'.repeat(32)] }];
  const requests = [
    { type: 2, chainId: 1, nonce: 0, gasLimit: 21000, to: FRIEND, value: 2n ** 70n, ...fees },
    { chainId: 1n, nonce: 7, gasLimit: 10n ** 6n, data: '0x6000', ...fees },
    { type: 0, chainId: 137, nonce: 1, gasLimit: 21000, gasPrice: 5n, to: FRIEND },
    { chainId: 5, nonce: 1, gasLimit: 21000, gasPrice: 5n, to: FRIEND },
    { type: 1, chainId: 1, nonce: 2, gasLimit: 90000, gasPrice: 1n, to: FRIEND, accessList },
    { type: 2, chainId: 1, nonce: 2, gasLimit: 90000, to: FRIEND, accessList, from: wallet.address, ...fees },
  ];
  for (const request of requests) {
    assert.equal(await signer.signTransaction(request), await wallet.signTransaction(request));
  }
});

test('it signs messages as the key in process does', async () => {
  for (const message of ['', 'grüße', new Uint8Array([0, 255])]) {
    assert.equal(await signer.signMessage(message), await wallet.signMessage(message));
  }
  assert.equal(verifyMessage('hello', await signer.signMessage('hello')), wallet.address);
});

test('a contract accepts the typed data that it signs', async () => {
  const { chainId } = await provider.getNetwork();
  const domain = { name: 'Token', version: '1', chainId, verifyingContract: await erc20.getAddress() };
  const fields = ['address owner', 'address spender', 'uint256 value', 'uint256 nonce', 'uint256 deadline'];
  const types = { Permit: fields.map((field) => ({ type: field.split(' ')[0]!, name: field.split(' ')[1]! })) };
  const permit = { owner: wallet.address, spender: FRIEND, value: 2n ** 200n, nonce: 0n, deadline: 2n ** 60n };
  const signature = await signer.signTypedData(domain, types, permit);
  assert.equal(signature, await wallet.signTypedData(domain, types, permit));
  assert.equal(verifyTypedData(domain, types, permit, signature), wallet.address);
  const { v, r, s } = Signature.from(signature);
  const { owner, spender, value, deadline } = permit;
  await (await erc20.getFunction('permit')(owner, spender, value, deadline, v, r, s)).wait();
  assert.equal(await erc20.getFunction('allowance')(owner, spender), value);
});

test('a NonceManager around it sends many at once', async () => {
  const many = new NonceManager(signer);
  const sent = await Promise.all(Array.from({ length: 10 }, () => many.sendTransaction({ to: FRIEND, value: 1n })));
  const receipts = await Promise.all(sent.map((transaction) => transaction.wait()));
  assert(receipts.every((receipt) => receipt?.status === 1));
  assert.equal(new Set(sent.map((transaction) => transaction.nonce)).size, 10);
});

test('an account runs a contract once it has authorized it', async () => {
  await client.ensureWallet('ethers-delegating');
  const delegating = new KmsServiceSigner(client, 'ethers-delegating', provider);
  const { privateKey } = await client.getPrivateKey('ethers-delegating');
  const own = await delegating.getAddress();
  await fund(own);
  const address = await erc20.getAddress();
  const authorization = await delegating.authorize({ address, nonce: 1n });
  const inProcess = new ethers.Wallet(privateKey, provider);
  assert.equal(authorization.signature.serialized, (await inProcess.authorize({ address, nonce: 1n })).signature.serialized);
  const sent = await delegating.sendTransaction({ type: 4, to: FRIEND, authorizationList: [authorization] });
  assert.equal((await sent.wait())?.status, 1);
  assert.equal(await provider.getCode(own), '0xef0100' + address.slice(2).toLowerCase());
});

test('it asks for its address once, whatever the provider', async () => {
  const paths: string[] = [];
  const noting: typeof fetch = (input, init) => {
    paths.push(new URL(String(input)).pathname);
    return fetch(input, init);
  };
  const noted = new KmsServiceSigner(new KmsServiceClient({ baseUrl, token, fetch: noting }), 'ethers-alice');
  await noted.getAddress();
  const connected = noted.connect(provider);
  for (let count = 0; count < 3; count += 1) await (await connected.sendTransaction({ to: FRIEND })).wait();
  const sign = '/wallets/ethers-alice/sign/transaction';
  assert.deepEqual(paths, ['/wallets/ethers-alice', sign, sign, sign]);
});

test('it refuses what it cannot sign', async () => {
  const fees = { maxFeePerGas: 2n, maxPriorityFeePerGas: 1n };
  const common = { chainId: 1, nonce: 0, gasLimit: 21000, to: FRIEND, ...fees };
  await assert.rejects(signer.signTransaction({ ...common, from: FRIEND }), { code: 'INVALID_ARGUMENT' });
  await assert.rejects(signer.signTransaction({ ...common, type: 3 }), { code: 'UNSUPPORTED_OPERATION' });
  await assert.rejects(new KmsServiceSigner(client, 'ethers-nobody').getAddress(), { code: 'wallet_not_found' });
});
