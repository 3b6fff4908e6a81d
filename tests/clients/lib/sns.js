// A stand-in for Amazon SNS with an authority of its own: signs messages as SNS does, serves its certificate over TLS,
// and is told when a subscription is confirmed.

import { execFileSync } from "node:child_process";
import { createSign, randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";

const SIGNED = {
  Notification: ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"],
  SubscriptionConfirmation: ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"],
};

export const TOPIC = "arn:aws:sns:us-east-1:123456789012:InvoiceEvents";

export class Sns {
  #dir = mkdtempSync(join(tmpdir(), "tidewire-sns-"));
  #server;
  #key;
  /** The requests that it got: `GET /path?query`. */
  requests = [];

  static async start() {
    const it = new Sns();
    it.#openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem");
    it.#openssl(
      "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=sns -addext subjectAltName=IP:127.0.0.1 " +
        "-addext basicConstraints=CA:FALSE -CA ca.pem -CAkey ca.key -keyout sns.key -out sns.pem",
    );
    it.#key = it.#read("sns.key");
    it.certificate = it.#read("sns.pem");
    it.#server = createServer({ key: it.#key, cert: it.certificate }, (request, response) => {
      it.requests.push(`${request.method} ${request.url}`);
      const { pathname } = new URL(request.url, it.url);
      if (pathname === "/sns.pem") return response.end(it.certificate);
      if (pathname === "/confirm") return response.end("<ConfirmSubscriptionResponse/>");
      if (pathname === "/elsewhere.pem") return response.writeHead(302, { location: "/sns.pem" }).end();
      return response.writeHead(404).end("no");
    });
    await new Promise((resolve) => it.#server.listen(0, "127.0.0.1", resolve));
    it.host = `127.0.0.1:${it.#server.address().port}`;
    it.url = `https://${it.host}`;
    return it;
  }

  /** What a source says of it. */
  get test() {
    return { host: this.host, ca_file: this.caFile };
  }

  get caFile() {
    return join(this.#dir, "ca.pem");
  }

  get authority() {
    return this.#read("ca.pem");
  }

  /** A signed message. `fields` are the message's, `forged` replaces some after it was signed. */
  message(fields, forged = {}) {
    const message = {
      Type: "Notification",
      MessageId: randomUUID(),
      TopicArn: TOPIC,
      Message: "{}",
      Timestamp: new Date().toISOString(),
      SignatureVersion: "1",
      SigningCertURL: `${this.url}/sns.pem`,
      UnsubscribeURL: `${this.url}/?Action=Unsubscribe`,
      ...fields,
    };
    const sign = createSign(message.SignatureVersion === "1" ? "RSA-SHA1" : "RSA-SHA256");
    for (const key of SIGNED[message.Type]) if (key in message) sign.update(`${key}\n${message[key]}\n`);
    message.Signature = sign.sign(this.#key, "base64");
    return { ...message, ...forged };
  }

  confirmation(fields = {}, forged = {}) {
    const Token = randomUUID().replaceAll("-", "");
    const SubscribeURL = `${this.url}/confirm?Action=ConfirmSubscription&Token=${Token}`;
    return this.message({ Type: "SubscriptionConfirmation", Message: "You have chosen to subscribe", Token, SubscribeURL, ...fields }, forged);
  }

  /** Delivers a message as SNS does. */
  post(url, message) {
    return fetch(url, {
      method: "POST",
      headers: {
        "content-type": "text/plain; charset=UTF-8",
        "x-amz-sns-message-type": message.Type,
        "x-amz-sns-message-id": message.MessageId,
        "x-amz-sns-topic-arn": message.TopicArn,
      },
      body: JSON.stringify(message),
    });
  }

  stop() {
    this.#server.closeAllConnections();
    this.#server.close();
    rmSync(this.#dir, { recursive: true });
  }

  #read(name) {
    return readFileSync(join(this.#dir, name), "utf8");
  }

  #openssl(args) {
    execFileSync("openssl", args.split(" "), { cwd: this.#dir, stdio: "ignore" });
  }
}
