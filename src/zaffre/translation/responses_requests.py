"""Requests of the Responses API: read as the chat call that they mean."""

from zaffre.core.calls import ChatCall
from zaffre.core.errors import InvalidParameter, InvalidRequest, UnsupportedParameter
from zaffre.translation.chat_requests import read_chat
from zaffre.wire.chat import (
    ChatRequest,
    ContentPart,
    FunctionBody,
    FunctionCall,
    ImageUrl,
    JsonSchemaBody,
    MessageBody,
    NamedFunction,
    NamedToolBody,
    ResponseFormat,
    ToolBody,
    ToolCallBody,
)
from zaffre.wire.responses import (
    FunctionTool,
    InputItem,
    InputPart,
    NamedChoice,
    ResponsesRequest,
    TextFormat,
)

STATELESS = (
    "This server keeps no responses: send the whole conversation as 'input' each time, and leave"
    " '{name}' out."
)


def read_responses(request: ResponsesRequest) -> ChatCall:
    """The call that `request` means. Raises `InvalidRequest`, or what a chat request raises."""
    _refuse_state(request)
    messages = [MessageBody("system", request.instructions)] if request.instructions else []
    if isinstance(request.input, str):
        messages.append(MessageBody("user", request.input))
    else:
        messages += _read_items(request.input)
    chat = ChatRequest(
        messages=messages,
        temperature=request.temperature,
        top_p=request.top_p,
        max_tokens=request.max_output_tokens,
        tools=[_read_tool(tool, i) for i, tool in enumerate(request.tools or [])] or None,
        tool_choice=_read_choice(request.tool_choice),
        parallel_tool_calls=request.parallel_tool_calls,
        response_format=_read_format(request.text.format if request.text else None),
        reasoning_effort=request.reasoning.effort if request.reasoning else None,
    )
    return read_chat(chat, {})


def _refuse_state(request: ResponsesRequest) -> None:
    for name in ("store", "background", "previous_response_id", "conversation", "prompt"):
        if getattr(request, name):
            raise InvalidRequest(STATELESS.format(name=name), (name,))
    for name in ("top_logprobs", "max_tool_calls"):
        if getattr(request, name):
            value = getattr(request, name)
            raise UnsupportedParameter((name,), value, f"'{name}' is not supported here.")
    if request.truncation not in (None, "disabled"):
        raise UnsupportedParameter(
            ("truncation",), request.truncation, "Nothing is cut here without being asked for."
        )
    if request.service_tier not in (None, "auto", "default"):
        raise UnsupportedParameter(
            ("service_tier",), request.service_tier, "There is one tier: 'default'."
        )


def _read_items(items: list[InputItem]) -> list[MessageBody]:
    """Calls that follow each other belong to one message of the assistant's."""
    messages: list[MessageBody] = []
    for position, item in enumerate(items):
        match item.type:
            case None | "message":
                messages.append(_read_message(item, position))
            case "function_call":
                call = ToolCallBody(
                    id=item.call_id or item.id,
                    type="function",
                    function=FunctionCall(item.name, item.arguments),
                )
                if messages and messages[-1].role == "assistant":
                    messages[-1].tool_calls = [*(messages[-1].tool_calls or []), call]
                else:
                    messages.append(MessageBody("assistant", None, tool_calls=[call]))
            case "function_call_output":
                text = item.output if isinstance(item.output, str) else _texts(item.output or [])
                messages.append(MessageBody("tool", text, tool_call_id=item.call_id))
            case "reasoning":
                continue  # echoed thoughts; templates leave earlier ones out
            case "item_reference":
                raise InvalidRequest(STATELESS.format(name="item_reference"), ("input", position))
            case unknown:
                raise InvalidParameter(
                    ("input", position, "type"),
                    unknown,
                    f"'{unknown}' is not an input here; use message, function_call or"
                    " function_call_output.",
                )
    return messages


def _read_message(item: InputItem, position: int) -> MessageBody:
    if item.role is None:
        raise InvalidParameter(("input", position, "role"), None, "A message needs a role.")
    if not isinstance(item.content, list):
        return MessageBody(item.role, item.content)
    if item.role == "assistant":
        return MessageBody(item.role, _texts(item.content))
    return MessageBody(item.role, [_read_part(part) for part in item.content])


def _texts(parts: list[InputPart]) -> str:
    return "".join(part.text or part.refusal or "" for part in parts)


def _read_part(part: InputPart) -> ContentPart:
    match part.type:
        case "input_text" | "output_text" | "text":
            return ContentPart("text", text=part.text)
        case "input_image":
            detail = part.detail if part.detail in ("low", "high") else "auto"
            url = ImageUrl(part.image_url, detail) if part.image_url else None  # type: ignore[arg-type]
            return ContentPart("image_url", image_url=url)
        case unknown:
            return ContentPart(unknown)


def _read_tool(tool: FunctionTool, position: int) -> ToolBody:
    if tool.type != "function" or tool.name is None:
        raise UnsupportedParameter(
            ("tools", position, "type"), tool.type, "Functions are the only tools here."
        )
    return ToolBody(
        "function", FunctionBody(tool.name, tool.description, tool.parameters, tool.strict)
    )


def _read_choice(choice: str | NamedChoice | None) -> str | NamedToolBody | None:
    if not isinstance(choice, NamedChoice):
        return choice
    return NamedToolBody("function", NamedFunction(choice.name or ""))


def _read_format(form: TextFormat | None) -> ResponseFormat | None:
    if form is None:
        return None
    if form.type != "json_schema":
        return ResponseFormat(form.type)
    body = JsonSchemaBody(form.name or "", form.schema, form.description, form.strict)
    return ResponseFormat("json_schema", body)
