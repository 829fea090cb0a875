// Refusals and model information through @azure-rest/ai-inference.

import assert from "node:assert/strict";
import test from "node:test";

import { isUnexpected } from "@azure-rest/ai-inference";

import { CAPITAL, makeClient } from "./client.js";

/** The error object that Microsoft's samples throw. */
async function refusal(parameters, client = makeClient()) {
  const response = await client.path("/chat/completions").post(parameters);
  assert.ok(isUnexpected(response), "the request was not refused");
  return { ...response.body.error, status: response.status, headers: response.headers };
}

test("a wrong key is refused", async () => {
  const error = await refusal({ body: { messages: CAPITAL } }, makeClient({ key: "wrong" }));
  assert.equal(error.status, "401");
  assert.match(error.message, /auth token validation failed/i);
});

test("an unknown model is refused", async () => {
  const error = await refusal({ body: { messages: CAPITAL, model: "gpt-9" } });
  assert.equal(error.status, "400");
  assert.equal(error.code, "unknown_model");
  assert.equal(error.headers["x-ms-error-code"], "unknown_model");
});

test("an extra parameter is refused", async () => {
  const error = await refusal({ body: { messages: CAPITAL, shoe_size: 42 } });
  assert.equal(error.status, "400");
  assert.match(error.message, /^Extra parameters \['shoe_size'\] are not allowed/);
});

test("an extra parameter that the model lacks is refused by the model", async () => {
  const headers = { "extra-parameters": "pass-through" };
  const error = await refusal({ headers, body: { messages: CAPITAL, shoe_size: 42 } });
  assert.equal(error.status, "422");
  assert.equal(error.code, "parameter_not_supported");
});

test("a refused stream is JSON", async () => {
  const response = await makeClient()
    .path("/chat/completions")
    .post({ body: { messages: CAPITAL, model: "gpt-9", stream: true } });
  assert.ok(isUnexpected(response));
  assert.equal(response.body.error.code, "unknown_model");
});

for (const path of ["", "/v1", "/models", "/api/models"]) {
  test(`the model introduces itself under '${path}'`, async () => {
    const response = await makeClient({ path }).path("/info").get();
    assert.ok(!isUnexpected(response), JSON.stringify(response.body));
    assert.equal(response.body.model_name, "smollm2-135m-instruct");
    assert.equal(response.body.model_type, "chat-completion");
    assert.ok(response.body.model_provider_name);
  });
}
