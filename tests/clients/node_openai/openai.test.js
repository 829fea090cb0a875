// Chat, responses and embeddings through openai: both of its classes.

import assert from "node:assert/strict";
import test from "node:test";

import { AuthenticationError, BadRequestError, NotFoundError } from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

import { CAPITAL, CHAT, EMBEDDER, SCHEMA, WEATHER, makeClients } from "./client.js";

const City = z.object({ name: z.string().max(20), population: z.number().int().max(99999999) });
const FUNCTION = { name: "get_weather", description: "The weather in a city.", parameters: SCHEMA };

for (const [name, client] of Object.entries(makeClients())) {
  test(`${name}: a question is answered`, async () => {
    const answer = await client.chat.completions.create({
      model: CHAT,
      messages: CAPITAL,
      temperature: 0,
    });
    assert.match(answer.choices[0].message.content, /Paris/);
    assert.ok(answer.usage.total_tokens > answer.usage.prompt_tokens);
    assert.ok(answer._request_id);
  });

  test(`${name}: an answer is streamed with its usage`, async () => {
    const stream = client.chat.completions.stream({
      model: CHAT,
      messages: CAPITAL,
      temperature: 0,
      stream_options: { include_usage: true },
    });
    let text = "";
    for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
    assert.match(text, /Paris/);
    assert.equal(await stream.finalContent(), text);
    assert.ok((await stream.totalUsage()).completion_tokens > 0);
  });

  test(`${name}: a tool is called and its result taken back`, async () => {
    const asked = await client.chat.completions.create({
      model: CHAT,
      messages: WEATHER,
      tools: [{ type: "function", function: FUNCTION }],
      tool_choice: { type: "function", function: { name: "get_weather" } },
      parallel_tool_calls: false,
      temperature: 0,
    });
    const { message } = asked.choices[0];
    const [call] = message.tool_calls;
    assert.match(JSON.parse(call.function.arguments).unit, /celsius|fahrenheit/);
    const result = { role: "tool", tool_call_id: call.id, content: "21 degrees" };
    const told = await client.chat.completions.create({
      model: CHAT,
      messages: [...WEATHER, message, result],
      max_tokens: 16,
    });
    assert.ok(told.choices[0].message.content);
  });

  test(`${name}: an answer is parsed under its schema`, async () => {
    const answer = await client.chat.completions.parse({
      model: CHAT,
      messages: CAPITAL,
      temperature: 0,
      response_format: zodResponseFormat(City, "city"),
    });
    assert.ok(City.parse(answer.choices[0].message.parsed));
  });

  test(`${name}: a response is streamed`, async () => {
    const stream = await client.responses.create({
      model: CHAT,
      input: CAPITAL,
      temperature: 0,
      stream: true,
    });
    let text = "";
    let last;
    for await (const event of stream) {
      if (event.type === "response.output_text.delta") text += event.delta;
      last = event;
    }
    assert.match(text, /Paris/);
    assert.equal(last.type, "response.completed");
    assert.equal(last.response.output[0].content[0].text, text);
  });

  test(`${name}: texts are embedded`, async () => {
    const answer = await client.embeddings.create({ model: EMBEDDER, input: ["a cat", "a dog"] });
    assert.deepEqual(answer.data.map((item) => item.embedding.length), [384, 384]);
    const length = Math.hypot(...answer.data[0].embedding);
    assert.ok(Math.abs(length - 1) < 0.01);
  });

  test(`${name}: refusals have their own classes`, async () => {
    const ask = (from, extra) =>
      from.chat.completions.create({ model: CHAT, messages: CAPITAL, ...extra });
    const code = name === "OpenAI" ? "unknown_model" : "DeploymentNotFound";
    await assert.rejects(ask(client, { model: "gpt-9" }), (error) => {
      assert.ok(error instanceof NotFoundError);
      assert.equal(error.code, code);
      return true;
    });
    await assert.rejects(ask(client, { temperature: 3 }), (error) => {
      assert.ok(error instanceof BadRequestError);
      assert.equal(error.param, "temperature");
      return true;
    });
    await assert.rejects(ask(makeClients({ key: "wrong" })[name]), AuthenticationError);
  });

  test(`${name}: models are listed`, async () => {
    const names = (await client.models.list()).data.map((model) => model.id);
    assert.ok(names.includes(CHAT) && names.includes(EMBEDDER));
  });
}
