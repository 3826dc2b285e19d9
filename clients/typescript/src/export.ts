import type { components } from './openapi.js';
import type { ExportedKey } from './values.js';

const INFO = new TextEncoder().encode('kms-service/private-key-export/v1');

/** To whom an export is sealed: a fresh X25519 key pair whose private half never leaves this object. */
export interface ExportRecipient {
  /** The public half, 32 bytes in base64. */
  readonly publicKey: string;
  /** The key of an answer, which is bound to the address that it names; rejects when it does not open. */
  open(answer: components['schemas']['SealedExportView']): Promise<ExportedKey>;
}

/** A recipient for one export (HPKE, RFC 9180). */
export async function exportRecipient(): Promise<ExportRecipient> {
  // Loaded here, since only exports need it.
  const [{ CipherSuite, HkdfSha256 }, { DhkemX25519HkdfSha256 }, { Chacha20Poly1305 }] = await Promise.all([
    import('@hpke/core'),
    import('@hpke/dhkem-x25519'),
    import('@hpke/chacha20poly1305'),
  ]);
  const kem = new DhkemX25519HkdfSha256();
  const suite = new CipherSuite({ kem, kdf: new HkdfSha256(), aead: new Chacha20Poly1305() });
  const pair = await kem.generateKeyPair();
  return {
    publicKey: toBase64(new Uint8Array(await kem.serializePublicKey(pair.publicKey))),
    async open({ walletAddress, encapsulatedKey, ciphertext }) {
      const enc = fromBase64(encapsulatedKey);
      const context = await suite.createRecipientContext({ recipientKey: pair.privateKey, enc, info: INFO });
      const aad = new TextEncoder().encode(walletAddress);
      return { walletAddress, privateKey: new Uint8Array(await context.open(fromBase64(ciphertext), aad)) };
    },
  };
}

function toBase64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}

function fromBase64(text: string): ArrayBuffer {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer;
}
