import { fromBase64, suiteOf, toBase64 } from './hpke.js';

const INFO = new TextEncoder().encode('kms-service/wallet-import/v1');

/** A public key of the service, valid for one import within 15 minutes. */
export interface ImportOffer {
  readonly importId: string;
  readonly recipientPublicKey: string;
}

/** Encrypt a private key (32 bytes) or a phrase to the service, for this user only. */
export async function sealImport(offer: ImportOffer, secret: Uint8Array | string, userId: string) {
  const suite = await suiteOf();
  const recipientPublicKey = await suite.kem.deserializePublicKey(fromBase64(offer.recipientPublicKey));
  const context = await suite.createSenderContext({ recipientPublicKey, info: INFO });
  const plaintext = typeof secret === 'string' ? new TextEncoder().encode(secret) : Uint8Array.from(secret);
  const encrypted = await context.seal(plaintext.buffer, new TextEncoder().encode(userId));
  return { importId: offer.importId, encapsulatedKey: toBase64(context.enc), ciphertext: toBase64(encrypted) };
}
