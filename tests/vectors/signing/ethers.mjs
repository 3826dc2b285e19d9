// Signs each JSON line of standard input with ethers and answers one JSON line; see cases.py.
import { createInterface } from 'node:readline';
import { SigningKey, Transaction, TypedDataEncoder, computeAddress, hashMessage } from 'ethers';

const answers = {
  message(key, body) {
    const digest = hashMessage(body.message ?? Buffer.from(body.messageHex.slice(2), 'hex'));
    return { digest, signature: key.sign(digest).serialized };
  },
  typedData(key, { domain, types, message }) {
    const digest = TypedDataEncoder.hash(domain, types, message);
    return { digest, signature: key.sign(digest).serialized };
  },
  transaction(key, { gas, ...fields }) {
    if (gas !== undefined) fields.gasLimit = gas;
    if (fields.type !== undefined) fields.type = Number(fields.type);
    // ethers alone takes a bare gasPrice for EIP-2930; nodes, viem, web3.py and this service for legacy.
    else if (fields.gasPrice !== undefined && fields.accessList === undefined) fields.type = 0;
    const transaction = Transaction.from(fields);
    transaction.signature = key.sign(transaction.unsignedHash);
    return { raw: transaction.serialized, hash: transaction.hash };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { kind, privateKey, body } = JSON.parse(line);
  const key = new SigningKey(privateKey);
  console.log(JSON.stringify({ address: computeAddress(key.publicKey), ...answers[kind](key, body) }));
}
