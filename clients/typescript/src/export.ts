import type { components } from './openapi.js';
import { fromBase64, suiteOf, toBase64 } from './hpke.js';
import type { ExportedKey } from './values.js';

const INFO = new TextEncoder().encode('kms-service/private-key-export/v1');

/** The recipient of an export: a fresh X25519 key pair whose private half never leaves this object. */
export interface ExportRecipient {
  /** The public half, 32 bytes in base64. */
  readonly publicKey: string;
  /** Decrypt the key of an answer; it is bound to the address that the answer names. Rejects if it does not open. */
  open(answer: components['schemas']['SealedExportView']): Promise<ExportedKey>;
}

/** Make a recipient for one export. */
export async function exportRecipient(): Promise<ExportRecipient> {
  const suite = await suiteOf();
  const pair = await suite.kem.generateKeyPair();
  return {
    publicKey: toBase64(await suite.kem.serializePublicKey(pair.publicKey)),
    async open({ walletAddress, encapsulatedKey, ciphertext }) {
      const enc = fromBase64(encapsulatedKey);
      const context = await suite.createRecipientContext({ recipientKey: pair.privateKey, enc, info: INFO });
      const aad = new TextEncoder().encode(walletAddress);
      return { walletAddress, privateKey: new Uint8Array(await context.open(fromBase64(ciphertext), aad)) };
    },
  };
}
