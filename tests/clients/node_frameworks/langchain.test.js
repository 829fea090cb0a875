// LangChain's ChatOpenAI and AzureChatOpenAI, with their embeddings.

import assert from "node:assert/strict";
import test from "node:test";

import { HumanMessage, SystemMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import {
  AzureChatOpenAI,
  AzureOpenAIEmbeddings,
  ChatOpenAI,
  OpenAIEmbeddings,
} from "@langchain/openai";
import { z } from "zod";

import { API_VERSION, CHAT, EMBEDDER, QUESTION, SYSTEM, WEATHER } from "./server.js";
import { apiKey, endpoint } from "./server.js";

const Weather = z.object({ city: z.string().max(20), unit: z.enum(["celsius", "fahrenheit"]) });
const CAPITAL = [new SystemMessage(SYSTEM), new HumanMessage(QUESTION)];
const getWeather = tool(async ({ unit }) => `21 degrees ${unit}`, {
  name: "get_weather",
  description: "The weather in a city.",
  schema: Weather,
});
const configuration = { baseURL: `${endpoint}/openai/v1` };
const deployment = {
  azureOpenAIApiKey: apiKey,
  azureOpenAIEndpoint: endpoint,
  azureOpenAIApiVersion: API_VERSION,
};
const MAKERS = {
  ChatOpenAI: (model, more) =>
    new ChatOpenAI({ model, apiKey, configuration, temperature: 0, maxRetries: 0, ...more }),
  "ChatOpenAI, responses": (model, more) =>
    new ChatOpenAI({
      model,
      apiKey,
      configuration,
      temperature: 0,
      maxRetries: 0,
      useResponsesApi: true,
      ...more,
    }),
  AzureChatOpenAI: (name, more) =>
    new AzureChatOpenAI({
      ...deployment,
      model: "gpt-4o", // LangChain offers schemas to names that it knows; the deployment decides
      azureOpenAIApiDeploymentName: name,
      temperature: 0,
      maxRetries: 0,
      ...more,
    }),
};

for (const [name, make] of Object.entries(MAKERS)) {
  test(`${name}: a question is answered`, async () => {
    const answer = await make(CHAT).invoke(CAPITAL);
    assert.match(answer.text, /Paris/);
    assert.ok(answer.usage_metadata.output_tokens > 0);
  });

  test(`${name}: an answer is streamed`, async () => {
    let whole;
    for await (const chunk of await make(CHAT).stream(CAPITAL)) {
      whole = whole ? whole.concat(chunk) : chunk;
    }
    assert.match(whole.text, /Paris/);
    assert.ok(whole.usage_metadata.output_tokens > 0);
  });

  test(`${name}: a tool is called and its result taken back`, async () => {
    const question = new HumanMessage(WEATHER);
    const bound = make(CHAT).bindTools([getWeather], { tool_choice: "get_weather" });
    const asked = await bound.invoke([question]);
    const results = await Promise.all(asked.tool_calls.map((call) => getWeather.invoke(call)));
    assert.ok(results[0] instanceof ToolMessage);
    const told = await make(CHAT, { maxTokens: 16 }).invoke([question, asked, ...results]);
    assert.ok(told.text);
  });

  for (const method of ["jsonSchema", "functionCalling"]) {
    test(`${name}: an object is made under its schema, by ${method}`, async () => {
      const filler = make(CHAT).withStructuredOutput(Weather, { name: "weather", method });
      assert.ok(Weather.parse(await filler.invoke(WEATHER)));
    });
  }

  test(`${name}: an unknown model is not found`, async () => {
    await assert.rejects(make("gpt-9").invoke("hi"), (error) => {
      assert.equal(error.status, 404);
      return true;
    });
  });
}

test("texts are embedded", async () => {
  const embedders = [
    new OpenAIEmbeddings({ model: EMBEDDER, apiKey, configuration }),
    new AzureOpenAIEmbeddings({
      ...deployment,
      azureOpenAIBasePath: `${endpoint}/openai/deployments`,
      azureOpenAIApiDeploymentName: EMBEDDER,
    }),
  ];
  for (const embedder of embedders) {
    const [cat] = await embedder.embedDocuments(["a cat", "a dog"]);
    assert.equal(cat.length, 384);
    assert.equal((await embedder.embedQuery("a cat")).length, 384);
  }
});
