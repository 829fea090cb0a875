"""Text completions through azure-ai-inference, which sends any request if not by a method."""

import json
from typing import Any

from azure.core.rest import HttpRequest
from azure_checks import RESULT_ID, AnyChatClient, settled

PROMPT = "The capital of France is"


async def _complete(client: AnyChatClient, **body: Any) -> dict[str, Any]:
    request = HttpRequest("POST", "/completions", json=body)
    response = await settled(client.send_request(request))
    response.raise_for_status()
    return response.json()


async def test_a_text_is_continued(chat: AnyChatClient):
    answer = await _complete(chat, prompt=PROMPT, temperature=0, max_tokens=8)
    assert "Paris" in answer["choices"][0]["text"]
    assert answer["object"] == "text_completion"
    assert RESULT_ID.fullmatch(answer["id"])
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 8


async def test_each_prompt_gets_its_own_choice(chat: AnyChatClient):
    prompts = [PROMPT, "The capital of Italy is"]
    answer = await _complete(chat, prompt=prompts, temperature=0, max_tokens=4)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert "Paris" in answer["choices"][0]["text"]
    assert "Rome" in answer["choices"][1]["text"]


async def test_a_continuation_is_streamed(chat: AnyChatClient):
    whole = await _complete(chat, prompt=PROMPT, temperature=0, max_tokens=8)
    request = HttpRequest(
        "POST",
        "/completions",
        json={"prompt": PROMPT, "temperature": 0, "max_tokens": 8, "stream": True},
    )
    response = await settled(chat.send_request(request))
    events = response.text().removesuffix("\n\n").split("\n\n")
    assert events.pop() == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert "".join(c["choices"][0]["text"] for c in chunks) == whole["choices"][0]["text"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert chunks[-1]["usage"] == whole["usage"]
