// The clients under test, as a program makes them.

import OpenAI, { AzureOpenAI } from "openai";

export const endpoint = process.env.ZAFFRE_TEST_ENDPOINT;
export const apiKey = process.env.ZAFFRE_TEST_KEY;
export const CHAT = "smollm2-135m-instruct";
export const EMBEDDER = "all-minilm-l6-v2";

export const CAPITAL = [
  { role: "system", content: "You are a helpful assistant." },
  { role: "user", content: "What is the capital of France?" },
];

export const WEATHER = [{ role: "user", content: "What is the weather in Paris?" }];

export const SCHEMA = {
  type: "object",
  properties: {
    city: { type: "string", maxLength: 20 },
    unit: { type: "string", enum: ["celsius", "fahrenheit"] },
  },
  required: ["city", "unit"],
  additionalProperties: false,
};

/** A client of each class; `key` for those that should be refused. */
export function makeClients({ key = apiKey } = {}) {
  return {
    OpenAI: new OpenAI({ baseURL: `${endpoint}/openai/v1`, apiKey: key }),
    AzureOpenAI: new AzureOpenAI({ endpoint, apiKey: key, apiVersion: "2024-10-21" }),
  };
}
