// The server under test, its models, and what is asked of them.

export const endpoint = process.env.ZAFFRE_TEST_ENDPOINT;
export const apiKey = process.env.ZAFFRE_TEST_KEY;
export const CHAT = "smollm2-135m-instruct";
export const EMBEDDER = "all-minilm-l6-v2";
export const API_VERSION = "2024-10-21";
export const SYSTEM = "You are a helpful assistant.";
export const QUESTION = "What is the capital of France?";
export const WEATHER = "What is the weather in Paris?";
