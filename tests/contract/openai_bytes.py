"""What the tests of the OpenAI family share: bodies, and bytes without what changes each time."""

import re
from typing import Any

from raw_http import Answer

V1 = "/openai/v1"
DEPLOYMENT = "/openai/deployments/echo"
USER = [{"role": "user", "content": "one two"}]
CHAT: dict[str, Any] = {"model": "echo", "messages": USER}
LOOK_UP = {
    "name": "look_up",
    "description": "Looks something up.",
    "parameters": {"type": "object", "properties": {"text": {"type": "string"}}},
}
TOOLS = [{"type": "function", "function": LOOK_UP}]
_ID = re.compile(r'"(?P<kind>chatcmpl-|cmpl-|resp_|msg_|fc_|rs_)[A-Za-z0-9]{29}"')
_CALL_ID = re.compile(r'"call_[0-9a-f]{24}"')
_CREATED = re.compile(r'"(?P<name>created|created_at)":[12]\d{9}\b')


def steady(answer: Answer) -> str:
    """The body of a success, with ids and times of the right form put down to their kinds."""
    assert answer.status == 200, answer.body
    text = _ID.sub(r'"\g<kind>"', answer.body.decode())
    return _CALL_ID.sub('"call_"', _CREATED.sub(r'"\g<name>":0', text))


def event_stream(*chunks: str) -> str:
    """The bytes of a stream of `chunks`."""
    return "".join(f"data: {chunk}\n\n" for chunk in (*chunks, "[DONE]"))


def refusal(answer: Answer, status: int) -> dict[str, Any]:
    """The error object of a refusal, which is all that its body has."""
    assert answer.status == status, answer.body
    assert (answer.header("retry-after") is not None) == (status in (429, 503))
    body = answer.json
    assert list(body) == ["error"]
    assert list(body["error"]) == ["message", "type", "param", "code"]
    return dict(body["error"])
