// Chat through @azure-rest/ai-inference: whole answers, streams, tools, formats.

import assert from "node:assert/strict";
import test from "node:test";

import { isUnexpected } from "@azure-rest/ai-inference";
import { createSseStream } from "@azure/core-sse";

import { CAPITAL, RESULT_ID, makeClient } from "./client.js";

const client = makeClient();

const TOOL = {
  type: "function",
  function: {
    name: "switch_lamp",
    description: "Switches the lamp.",
    parameters: {
      type: "object",
      properties: { state: { enum: ["on", "off"] } },
      required: ["state"],
      additionalProperties: false,
    },
  },
};

async function complete(body) {
  const response = await client.path("/chat/completions").post({ body });
  assert.ok(!isUnexpected(response), JSON.stringify(response.body));
  return response.body;
}

/** The chunks of a streamed answer, read as Microsoft's samples read them. */
async function stream(body) {
  const response = await client
    .path("/chat/completions")
    .post({ body: { ...body, stream: true } })
    .asNodeStream();
  assert.equal(response.status, "200");
  assert.match(response.headers["content-type"], /^text\/event-stream/);
  const chunks = [];
  for await (const event of createSseStream(response.body)) {
    if (event.data === "[DONE]") {
      return chunks;
    }
    chunks.push(JSON.parse(event.data));
  }
  assert.fail("the stream ended without [DONE]");
}

test("a question is answered", async () => {
  const answer = await complete({ messages: CAPITAL, temperature: 0 });
  assert.match(answer.id, RESULT_ID);
  assert.equal(answer.object, "chat.completion");
  assert.equal(answer.model, "smollm2-135m-instruct");
  assert.ok(Number.isInteger(answer.created));
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.match(answer.choices[0].message.content, /Paris/);
  const { prompt_tokens, completion_tokens, total_tokens } = answer.usage;
  assert.equal(total_tokens, prompt_tokens + completion_tokens);
});

test("a stream says what the whole answer says", async () => {
  const body = { messages: CAPITAL, temperature: 0 };
  const whole = await complete(body);
  const chunks = await stream(body);
  const deltas = chunks.flatMap((chunk) => chunk.choices).map((choice) => choice.delta);
  assert.equal(deltas[0].role, "assistant");
  assert.equal(deltas.map((delta) => delta.content ?? "").join(""), whole.choices[0].message.content);
  assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
  assert.deepEqual(chunks.at(-1).usage, whole.usage);
});

test("a required tool is called", async () => {
  const body = { messages: CAPITAL, tools: [TOOL], tool_choice: "required", temperature: 0 };
  const { choices } = await complete(body);
  assert.equal(choices[0].finish_reason, "tool_calls");
  for (const call of choices[0].message.tool_calls) {
    assert.equal(call.type, "function");
    assert.equal(call.function.name, "switch_lamp");
    assert.ok(["on", "off"].includes(JSON.parse(call.function.arguments).state));
  }
});

test("the result of a tool is taken back", async () => {
  const choice = { type: "function", function: { name: "switch_lamp" } };
  const body = { messages: CAPITAL, tools: [TOOL], tool_choice: choice, temperature: 0 };
  const { message } = (await complete(body)).choices[0];
  const results = message.tool_calls.map((call) => ({
    role: "tool",
    tool_call_id: call.id,
    content: "done",
  }));
  const answer = await complete({
    messages: [...CAPITAL, message, ...results],
    max_tokens: 16,
  });
  assert.ok(answer.choices[0].message.content);
});

test("a schema is kept", async () => {
  const schema = {
    type: "object",
    properties: { city: { enum: ["Paris", "Rome"] }, age: { type: "integer", maximum: 99 } },
    required: ["city", "age"],
    additionalProperties: false,
  };
  const { choices } = await complete({
    messages: CAPITAL,
    temperature: 0,
    max_tokens: 128,
    response_format: { type: "json_schema", json_schema: { name: "city", schema, strict: true } },
  });
  const { city, age } = JSON.parse(choices[0].message.content);
  assert.ok(["Paris", "Rome"].includes(city));
  assert.ok(Number.isInteger(age));
});
