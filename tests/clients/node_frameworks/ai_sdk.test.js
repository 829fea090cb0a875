// Vercel's AI SDK with @ai-sdk/azure: its default (responses), chat, completions, and deployments.

import assert from "node:assert/strict";
import test from "node:test";

import { createAzure } from "@ai-sdk/azure";
import {
  APICallError,
  Output,
  embedMany,
  generateObject,
  generateText,
  stepCountIs,
  streamText,
  tool,
} from "ai";
import { z } from "zod";

import { API_VERSION, CHAT, EMBEDDER, QUESTION, SYSTEM, WEATHER } from "./server.js";
import { apiKey, endpoint } from "./server.js";

const azure = createAzure({ baseURL: `${endpoint}/openai/v1`, apiKey });
const deployments = createAzure({
  baseURL: `${endpoint}/openai`,
  apiKey,
  apiVersion: API_VERSION,
  useDeploymentBasedUrls: true,
});
const MODELS = {
  responses: azure(CHAT),
  chat: azure.chat(CHAT),
  "deployment, responses": deployments(CHAT),
  "deployment, chat": deployments.chat(CHAT),
};
const Weather = z.object({ city: z.string().max(20), unit: z.enum(["celsius", "fahrenheit"]) });

for (const [name, model] of Object.entries(MODELS)) {
  test(`${name}: a question is answered`, async () => {
    const answer = await generateText({ model, system: SYSTEM, prompt: QUESTION, temperature: 0 });
    assert.match(answer.text, /Paris/);
    assert.equal(answer.finishReason, "stop");
    assert.ok(answer.usage.outputTokens > 0);
  });

  test(`${name}: an answer is streamed`, async () => {
    const stream = streamText({ model, system: SYSTEM, prompt: QUESTION, temperature: 0 });
    const pieces = [];
    for await (const piece of stream.textStream) pieces.push(piece);
    assert.ok(pieces.length > 1);
    assert.match(pieces.join(""), /Paris/);
    assert.ok((await stream.usage).outputTokens > 0);
  });

  test(`${name}: a tool is called and its result taken back`, async () => {
    const asked = [];
    const answer = await generateText({
      model,
      prompt: WEATHER,
      temperature: 0,
      maxOutputTokens: 64,
      stopWhen: stepCountIs(2),
      providerOptions: { openai: { parallelToolCalls: false, store: false } },
      tools: {
        get_weather: tool({
          description: "The weather in a city.",
          inputSchema: Weather,
          execute: async ({ unit }) => {
            asked.push(unit);
            return `21 degrees ${unit}`;
          },
        }),
      },
      prepareStep: ({ stepNumber }) => ({
        toolChoice: stepNumber === 0 ? { type: "tool", toolName: "get_weather" } : "none",
      }),
    });
    assert.equal(asked.length, 1);
    assert.equal(answer.steps.length, 2);
    assert.ok(answer.text);
  });

  test(`${name}: a call is streamed`, async () => {
    const stream = streamText({
      model,
      prompt: WEATHER,
      temperature: 0,
      toolChoice: "required",
      tools: { get_weather: tool({ inputSchema: Weather }) },
    });
    const [call] = await stream.toolCalls;
    assert.ok(Weather.parse(call.input));
    assert.equal(await stream.finishReason, "tool-calls");
  });

  test(`${name}: an object is made under its schema`, async () => {
    const made = await generateObject({ model, schema: Weather, prompt: WEATHER, temperature: 0 });
    assert.ok(Weather.parse(made.object));
    const output = Output.object({ schema: Weather });
    const answer = await generateText({ model, output, prompt: WEATHER, temperature: 0 });
    assert.ok(Weather.parse(answer.output));
  });
}

for (const [name, provider] of Object.entries({ v1: azure, deployment: deployments })) {
  test(`${name}: texts are embedded`, async () => {
    const model = provider.textEmbeddingModel(EMBEDDER);
    const { embeddings } = await embedMany({ model, values: ["a cat", "a dog"] });
    assert.deepEqual(embeddings.map((vector) => vector.length), [384, 384]);
  });

  test(`${name}: a text is completed`, async () => {
    const model = provider.completion(CHAT);
    const { text } = await generateText({ model, prompt: "Once upon", maxOutputTokens: 8 });
    assert.ok(text);
  });

  for (const kind of ["chat", "responses"]) {
    test(`${name}, ${kind}: an unknown model is not found`, async () => {
      const asked = generateText({ model: provider[kind]("gpt-9"), prompt: "hi", maxRetries: 0 });
      await assert.rejects(asked, (error) => {
        assert.ok(APICallError.isInstance(error));
        assert.equal(error.statusCode, 404);
        return true;
      });
    });
  }
}
