// Signs each JSON line of standard input with ethers, and with viem too where it can, and answers one JSON line.
// Where both sign, they must agree. See cases.py.
import { createInterface } from 'node:readline';
import {
  Signature, SigningKey, Transaction, TypedDataEncoder, Wallet, computeAddress, hashAuthorization, hashMessage,
} from 'ethers';
import { keccak256 } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { hashAuthorization as viemHashAuthorization } from 'viem/utils';

function agree(ours, theirs) {
  if (JSON.stringify(ours) !== JSON.stringify(theirs)) throw new Error(`${JSON.stringify(ours)} is not ${JSON.stringify(theirs)}`);
  return ours;
}

function typedData(key, { domain, types, message }) {
  const digest = TypedDataEncoder.hash(domain, types, message);
  return { digest, signature: key.sign(digest).serialized };
}

const answers = {
  message(key, body) {
    const digest = hashMessage(body.message ?? Buffer.from(body.messageHex.slice(2), 'hex'));
    return { digest, signature: key.sign(digest).serialized };
  },
  typedData,
  memberless: typedData,
  transaction(key, { gas, ...fields }) {
    if (gas !== undefined) fields.gasLimit = gas;
    if (fields.type !== undefined) fields.type = Number(fields.type);
    // ethers alone takes a bare gasPrice for EIP-2930; nodes, viem, web3.py and this service for legacy.
    else if (fields.gasPrice !== undefined && fields.accessList === undefined) fields.type = 0;
    const transaction = Transaction.from(fields);
    transaction.signature = key.sign(transaction.unsignedHash);
    return { raw: transaction.serialized, hash: transaction.hash };
  },
  async authorization(key, { chainId, address, nonce }) {
    const asked = { chainId: BigInt(chainId), address, nonce: BigInt(nonce) };
    const { signature } = new Wallet(key.privateKey).authorizeSync(asked);
    const ours = { digest: hashAuthorization(asked), yParity: signature.yParity, r: signature.r, s: signature.s };
    const viem = await privateKeyToAccount(key.privateKey).signAuthorization(asked);
    return agree(ours, { digest: viemHashAuthorization(asked), yParity: viem.yParity, r: viem.r, s: viem.s });
  },
  async setCode(key, { gas, gasLimit = gas, type, authorizationList, ...fields }) {
    const transaction = Transaction.from({
      ...fields,
      gasLimit,
      type: 4,
      authorizationList: authorizationList.map(({ chainId, address, nonce, yParity, r, s }) => ({
        chainId: BigInt(chainId), address, nonce: BigInt(nonce), signature: Signature.from({ r, s, yParity: Number(yParity) }),
      })),
    });
    transaction.signature = key.sign(transaction.unsignedHash);
    const raw = await privateKeyToAccount(key.privateKey).signTransaction({
      ...fields,
      type: 'eip7702',
      gas: BigInt(gasLimit),
      chainId: BigInt(fields.chainId),
      nonce: BigInt(fields.nonce),
      value: BigInt(fields.value),
      maxFeePerGas: BigInt(fields.maxFeePerGas),
      maxPriorityFeePerGas: BigInt(fields.maxPriorityFeePerGas),
      authorizationList: authorizationList.map(({ chainId, address, nonce, yParity, r, s }) => ({
        chainId: BigInt(chainId), address, nonce: BigInt(nonce), yParity: Number(yParity), r, s,
      })),
    });
    return agree({ raw: transaction.serialized, hash: transaction.hash }, { raw, hash: keccak256(raw) });
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { kind, privateKey, body } = JSON.parse(line);
  const key = new SigningKey(privateKey);
  console.log(JSON.stringify({ address: computeAddress(key.publicKey), ...(await answers[kind](key, body)) }));
}
