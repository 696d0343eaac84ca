// Pays an invoice of a demo with the types that were generated: `node purchase.js URL`.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import createClient from "openapi-fetch";

import type { components, paths } from "./api.js";

type Payment = components["schemas"]["Payment"];

const USER = "demo-alice";
const CODE_MS_MAX = 10_000;

const url = process.argv[2];
assert(url, "the URL of the demo is missing");
const client = createClient<paths>({ baseUrl: url });

/** Sign in, choose an invoice, start, be refused for a wrong code, confirm, and look at the wallet. */
async function purchase(): Promise<Payment> {
  const { data: token } = await client.POST("/mock/token", { body: { user_id: USER } });
  assert(token);
  client.use({
    onRequest({ request }) {
      request.headers.set("Authorization", `Bearer ${token.token}`);
      return request;
    },
  });
  const { data: wallets } = await client.GET("/v1/wallets");
  const { data: invoices } = await client.GET("/v1/invoices", { params: { query: { limit: 100 } } });
  const wallet = wallets?.data[0];
  const invoice = invoices?.data.find((each) => each.merchant === "Bookshop" && each.status === "open");
  assert(wallet && invoice);

  const { data: started, response } = await client.POST("/v1/payments", {
    params: { header: { "Idempotency-Key": `${invoice.id}-1` } },
    body: { invoice_id: invoice.id, wallet_id: wallet.id },
  });
  assert(started);
  assert.equal(started.status, "requires_confirmation");
  assert.equal(response.headers.get("Location"), `/v1/payments/${started.id}`);
  const path = { payment_id: started.id };
  const { error } = await client.POST("/v1/payments/{payment_id}/confirm", {
    params: { path },
    body: { code: "not the code" },
  });
  assert.equal(error?.code, "confirmation_invalid");
  assert.equal(error.attempts_remaining, 4);
  const { data: paid } = await client.POST("/v1/payments/{payment_id}/confirm", {
    params: { path, query: { wait: 10 } },
    body: { code: await codeOf(started.id) },
  });
  assert(paid);
  assert.equal(paid.status, "succeeded");

  const { data: left } = await client.GET("/v1/wallets/{wallet_id}", {
    params: { path: { wallet_id: wallet.id } },
  });
  assert.equal(left?.balance, wallet.balance - invoice.amount);
  return paid;
}

/** Wait for the code of a payment in the mock inbox. */
async function codeOf(paymentId: string): Promise<string> {
  const giveUpAt = Date.now() + CODE_MS_MAX;
  while (Date.now() < giveUpAt) {
    const { data } = await client.GET("/mock/inbox/{user_id}", { params: { path: { user_id: USER } } });
    const message = data?.data.find((each) => each.payment_id === paymentId && each.code !== undefined);
    if (message?.code !== undefined) return message.code;
    await sleep(50);
  }
  throw new Error(`no code within ${CODE_MS_MAX} ms`);
}

const paid = await purchase();
console.log(paid.id, paid.status);
