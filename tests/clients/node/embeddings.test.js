// Text and image embeddings through @azure-rest/ai-inference.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { isUnexpected } from "@azure-rest/ai-inference";

import { RESULT_ID, makeClient } from "./client.js";

const DIMENSIONS = 384;
const client = makeClient();
const picture = readFileSync(process.env.ZAFFRE_TEST_PICTURE).toString("base64");

async function embed(path, body) {
  const response = await client.path(path).post({ body });
  assert.ok(!isUnexpected(response), JSON.stringify(response.body));
  assert.match(response.body.id, RESULT_ID);
  assert.equal(response.body.usage.total_tokens, response.body.usage.prompt_tokens);
  return response.body.data;
}

test("texts become vectors, in order", async () => {
  const vectors = await embed("/embeddings", { input: ["first", "second", "third"] });
  assert.deepEqual(
    vectors.map((item) => item.index),
    [0, 1, 2],
  );
  for (const { embedding } of vectors) {
    assert.equal(embedding.length, DIMENSIONS);
    assert.ok(Math.abs(Math.hypot(...embedding) - 1) < 1e-3);
  }
});

test("base64 is the vector's bytes", async () => {
  const [plain] = await embed("/embeddings", { input: ["phrase"] });
  const [packed] = await embed("/embeddings", { input: ["phrase"], encoding_format: "base64" });
  const bytes = Buffer.from(packed.embedding, "base64");
  assert.equal(bytes.length, DIMENSIONS * 4);
  plain.embedding.forEach((number, i) => {
    assert.ok(Math.abs(bytes.readFloatLE(i * 4) - number) < 1e-6);
  });
});

test("images become vectors, with and without a caption", async () => {
  const image = `data:image/png;base64,${picture}`;
  const input = [{ image }, { image, text: "a grey wall" }];
  const [alone, captioned] = await embed("/images/embeddings", { input });
  assert.equal(alone.embedding.length, DIMENSIONS);
  assert.notDeepEqual(alone.embedding, captioned.embedding);
});
