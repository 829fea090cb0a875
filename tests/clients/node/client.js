// The client under test, as a program makes it: endpoint and key. Over plain http it must say so.

import ModelClient from "@azure-rest/ai-inference";
import { AzureKeyCredential } from "@azure/core-auth";

const endpoint = process.env.ZAFFRE_TEST_ENDPOINT;

/** A client of the server that the tests run against. */
export function makeClient({ key = process.env.ZAFFRE_TEST_KEY, path = "" } = {}) {
  return ModelClient(endpoint + path, new AzureKeyCredential(key), {
    allowInsecureConnection: true,
  });
}

/** Like the ids of Azure's serverless endpoints. */
export const RESULT_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export const CAPITAL = [
  { role: "system", content: "You are a helpful assistant." },
  { role: "user", content: "What is the capital of France?" },
];
