"""The Responses API of the OpenAI family, without state: a chat call in other clothes."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from msgspec import UNSET

from zaffre.asgi.exchange import EVENT_STREAM, JSON, Send, send_stream, send_whole
from zaffre.core.answers import Answer
from zaffre.core.calls import ToolCall
from zaffre.core.deltas import (
    Batches,
    Delta,
    Finish,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from zaffre.core.errors import EngineFailed
from zaffre.routing.table import Route
from zaffre.server.dialects.openai import OpenAI, read_known
from zaffre.server.dialects.openai_stream import new_id
from zaffre.server.request import Request
from zaffre.service.gateway import Gateway
from zaffre.translation.responses_requests import read_responses
from zaffre.wire import codec
from zaffre.wire.responses import (
    IncompleteDetails,
    InputDetails,
    OutputDetails,
    OutputItem,
    OutputText,
    ResponseEvent,
    ResponseObject,
    ResponsesRequest,
    ResponsesUsage,
    SummaryText,
)


class Responses:
    """Answers POST /responses with the deployments that `openai` chooses."""

    def __init__(self, gateway: Gateway, openai: OpenAI) -> None:
        self._gateway = gateway
        self._openai = openai

    async def respond(self, request: Request, body: bytes, send: Send) -> None:
        """POST /responses."""
        parsed = read_known(body, ResponsesRequest)
        context = request.context(self._openai.dialect, stream=bool(parsed.stream))
        route = self._openai.choose(request, context, parsed.model, "chat")
        call = read_responses(parsed)
        response = _begun(parsed, route)
        headers = self._openai.headers(request, route)
        if context.stream:
            async with self._gateway.streaming(context, route, call) as stream:
                frames = _frames(stream.batches, response)
                await send_stream(send, [EVENT_STREAM, *headers], frames)
            return
        _complete(response, (await self._gateway.answer(context, route, call)).answer)
        await send_whole(send, 200, [JSON, *headers], codec.encode(response))


def _begun(request: ResponsesRequest, route: Route) -> ResponseObject:
    form = request.text.format if request.text else None
    return ResponseObject(
        id=new_id("resp_"),
        created_at=int(time.time()),
        status="in_progress",
        model=route.deployment.name,
        instructions=request.instructions,
        max_output_tokens=request.max_output_tokens,
        parallel_tool_calls=request.parallel_tool_calls is not False,
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        text={"format": codec.plain(form) if form else {"type": "text"}},
        tool_choice=codec.plain(request.tool_choice) or "auto",
        tools=codec.plain(request.tools) or [],
        reasoning={"effort": request.reasoning.effort if request.reasoning else None},
        user=request.user,
        metadata=request.metadata or {},
    )


def _complete(response: ResponseObject, answer: Answer) -> None:
    choice = answer.choices[0]
    response.output = []
    if choice.reasoning:
        response.output.append(_thoughts(new_id("rs_"), choice.reasoning))
    if choice.text or not choice.tool_calls:
        response.output.append(_message(new_id("msg_"), choice.text))
    response.output += [_call(new_id("fc_"), call) for call in choice.tool_calls]
    _end(response, choice.finish_reason, answer.usage)


def _end(response: ResponseObject, reason: str, usage: Usage) -> None:
    incomplete = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(reason)
    response.status = "incomplete" if incomplete else "completed"
    response.incomplete_details = IncompleteDetails(incomplete) if incomplete else None
    response.usage = ResponsesUsage(
        input_tokens=usage.prompt_tokens,
        input_tokens_details=InputDetails(usage.cached_tokens),
        output_tokens=usage.completion_tokens,
        output_tokens_details=OutputDetails(usage.reasoning_tokens),
        total_tokens=usage.total_tokens,
    )


def _message(item_id: str, text: str | None, status: str = "completed") -> OutputItem:
    content = [] if text is None else [OutputText(text)]
    return OutputItem(id=item_id, type="message", status=status, role="assistant", content=content)


def _thoughts(item_id: str, text: str | None, status: str = "completed") -> OutputItem:
    summary = [] if text is None else [SummaryText(text)]
    return OutputItem(id=item_id, type="reasoning", status=status, summary=summary)


def _call(item_id: str, call: ToolCall, status: str = "completed") -> OutputItem:
    return OutputItem(
        id=item_id,
        type="function_call",
        status=status,
        call_id=call.id,
        name=call.name,
        arguments=call.arguments if status == "completed" else "",
    )


async def _frames(batches: Batches, response: ResponseObject) -> AsyncGenerator[bytes, None]:
    events = ResponseEvents(response)
    begun = False
    async with aclosing(batches):
        async for batch in batches:
            frames = [] if begun else events.begin()  # not before: an error still has its status
            begun = True
            for delta in batch:
                frames += events.read(delta)
            if frames:
                yield b"".join(frames)
    if response.usage is None:
        raise EngineFailed("The model's answer ended before it was complete.")


class ResponseEvents:
    """Turns deltas into the events of one response stream."""

    def __init__(self, response: ResponseObject) -> None:
        self._response = response
        self._number = 0
        self._kind = ""
        """Of the item that is open: `message`, `reasoning`, or none."""
        self._id = ""
        self._text: list[str] = []
        self._reason = "stop"

    def begin(self) -> list[bytes]:
        """The two events that every stream begins with."""
        return [
            self._event("response.created", response=self._response),
            self._event("response.in_progress", response=self._response),
        ]

    def read(self, delta: Delta) -> list[bytes]:
        """The events that `delta` causes."""
        match delta:
            case TextDelta(text=text):
                return [*self._open("message"), self._piece("response.output_text.delta", text)]
            case ReasoningDelta(text=text):
                opened = self._open("reasoning")
                return [*opened, self._piece("response.reasoning_summary_text.delta", text)]
            case ToolCallDelta(call=call):
                return [*self._close(), *self._whole_call(call)]
            case Finish(reason=reason):
                self._reason = reason
                empty = [] if self._kind or self._response.output else self._open("message")
                return [*empty, *self._close()]
            case Usage():
                _end(self._response, self._reason, delta)
                return [self._event(f"response.{self._response.status}", response=self._response)]

    def _open(self, kind: str) -> list[bytes]:
        if kind == self._kind:
            return []
        frames = self._close()
        self._kind, self._text = kind, []
        is_message = kind == "message"
        self._id = new_id("msg_" if is_message else "rs_")
        make = _message if is_message else _thoughts
        frames.append(self._item_event("added", make(self._id, None, "in_progress")))
        part = OutputText("") if is_message else SummaryText("")
        frames.append(self._part_event("added", part))
        return frames

    def _close(self) -> list[bytes]:
        if not self._kind:
            return []
        text, is_message = "".join(self._text), self._kind == "message"
        kind = "response.output_text.done" if is_message else "response.reasoning_summary_text.done"
        place = self._place() | ({"logprobs": []} if is_message else {})
        part = OutputText(text) if is_message else SummaryText(text)
        item = (_message if is_message else _thoughts)(self._id, text)
        frames = [
            self._event(kind, text=text, **place),
            self._part_event("done", part),
            self._item_event("done", item),
        ]
        self._response.output.append(item)
        self._kind = ""
        return frames

    def _piece(self, kind: str, text: str) -> bytes:
        self._text.append(text)
        logprobs: Any = [] if self._kind == "message" else UNSET
        return self._event(kind, delta=text, logprobs=logprobs, **self._place())

    def _whole_call(self, call: ToolCall) -> list[bytes]:
        item_id, index = new_id("fc_"), len(self._response.output)
        done = _call(item_id, call)
        where: dict[str, Any] = {"item_id": item_id, "output_index": index}
        kind = "response.function_call_arguments"
        frames = [
            self._item_event("added", _call(item_id, call, "in_progress")),
            self._event(f"{kind}.delta", delta=call.arguments, **where),
            self._event(f"{kind}.done", name=call.name, arguments=call.arguments, **where),
            self._item_event("done", done),
        ]
        self._response.output.append(done)
        return frames

    def _place(self) -> dict[str, Any]:
        part = "content_index" if self._kind == "message" else "summary_index"
        return {"item_id": self._id, "output_index": len(self._response.output), part: 0}

    def _item_event(self, what: str, item: OutputItem) -> bytes:
        index = len(self._response.output)
        return self._event(f"response.output_item.{what}", output_index=index, item=item)

    def _part_event(self, what: str, part: OutputText | SummaryText) -> bytes:
        name = "content_part" if self._kind == "message" else "reasoning_summary_part"
        return self._event(f"response.{name}.{what}", part=part, **self._place())

    def _event(self, kind: str, **fields: Any) -> bytes:  # noqa: ANN401 - the fields of the event
        event = ResponseEvent(type=kind, sequence_number=self._number, **fields)
        self._number += 1
        return f"event: {kind}\ndata: ".encode() + codec.encode(event) + b"\n\n"
