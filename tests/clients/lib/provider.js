// An identity provider: it signs tokens by an independent library and shows its public keys as a JWK set.

import { createServer } from "node:http";

import { SignJWT, exportJWK, generateKeyPair } from "jose";

/** What a JWK set may have keys for. */
export const PUBLIC_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/** A token that ends so many seconds from now. */
export function sign(claims, header, key, seconds = 60) {
  const end = Math.floor(Date.now() / 1000) + seconds;
  return new SignJWT(claims).setProtectedHeader(header).setExpirationTime(end).sign(key);
}

export class Provider {
  #keys = new Map();
  #http;
  #rotations = 0;
  /** How often the set was asked for. */
  asked = 0;

  /** With one key for each of these algorithms. */
  static async start(algorithms = ["ES256"]) {
    const it = new Provider();
    for (const algorithm of algorithms) await it.#add(algorithm);
    it.#http = createServer((_, response) => {
      it.asked += 1;
      const keys = [...it.#keys.values()].map(({ jwk }) => jwk);
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ keys }));
    });
    await new Promise((resolve) => it.#http.listen(0, "127.0.0.1", resolve));
    it.url = `http://127.0.0.1:${it.#http.address().port}/.well-known/jwks.json`;
    return it;
  }

  async #add(alg) {
    const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
    const kid = `${alg}-${this.#rotations}`;
    this.#keys.set(alg, { privateKey, kid, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: "sig" } });
  }

  /** Another key in the place of the one that there was. */
  async rotate(alg = "ES256") {
    this.#rotations += 1;
    await this.#add(alg);
  }

  token(claims, { alg = "ES256", seconds } = {}) {
    const { privateKey, kid } = this.#keys.get(alg);
    return sign(claims, { alg, kid }, privateKey, seconds);
  }

  stop() {
    this.#http.closeAllConnections();
    return new Promise((resolve) => this.#http.close(resolve));
  }
}
