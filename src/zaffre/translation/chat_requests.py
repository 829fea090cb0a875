"""Chat requests: wire to core and back."""

import base64
import binascii
import re

from zaffre.core.calls import (
    AssistantMessage,
    AudioPart,
    ChatCall,
    ImagePart,
    JsonSchema,
    MediaReference,
    Message,
    NamedTool,
    OutputFormat,
    Part,
    SystemMessage,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMessage,
    UserMessage,
)
from zaffre.core.errors import InvalidParameter, Location
from zaffre.translation.sampling import read_sampling, write_sampling
from zaffre.wire import codec
from zaffre.wire.chat import (
    AudioUrl,
    ChatRequest,
    ContentPart,
    FunctionBody,
    FunctionCall,
    ImageUrl,
    InputAudio,
    JsonSchemaBody,
    MessageBody,
    NamedFunction,
    NamedToolBody,
    ResponseFormat,
    ToolBody,
    ToolCallBody,
)

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What functions and schemas may be called (contract, section 4.1)."""
MAX_MESSAGES = 4096
MAX_TOOLS = 128
_DATA_URL = re.compile(r"data:(?P<type>[\w.+/*-]+)(?:;[\w.+=-]+)*?;base64,", re.IGNORECASE)


def read_chat(request: ChatRequest, extra: dict[str, object]) -> ChatCall:
    """The call that `request` means. `extra` holds passed-through keys without a field.

    Raises `InvalidParameter` naming the first thing that is not as the API describes.
    """
    if not request.messages:
        raise InvalidParameter(("messages",), [], "'messages' must have at least one message.")
    if len(request.messages) > MAX_MESSAGES:
        raise InvalidParameter(
            ("messages",), len(request.messages), f"More than {MAX_MESSAGES} messages."
        )
    tools = _read_tools(request.tools) if request.tools else ()
    return ChatCall(
        messages=tuple([_read_message(m, i) for i, m in enumerate(request.messages)]),
        sampling=read_sampling(request, _asked_logprobs(request)),
        format="text" if request.response_format is None else _read_format(request.response_format),
        tools=tools,
        tool_choice=_read_choice(request.tool_choice, tools),
        parallel_tool_calls=request.parallel_tool_calls is not False,
        modalities=tuple(request.modalities) if request.modalities else ("text",),
        reasoning_effort=request.reasoning_effort,
        extra=extra,
    )


def _asked_logprobs(request: ChatRequest) -> int | None:
    """OpenAI: a flag and a count; serverless Llama: the count alone."""
    asked, count = request.logprobs, request.top_logprobs
    if not asked:
        if count:
            raise InvalidParameter(("top_logprobs",), count, "'top_logprobs' needs 'logprobs'.")
        return 0 if asked == 0 and asked is not False and asked is not None else None
    if asked is True:
        return count or 0
    return asked


def _read_message(message: MessageBody, position: int) -> Message:
    where: Location = ("messages", position)
    match message.role:
        case "system" | "developer":
            return SystemMessage(_read_text(message, where, required=True))
        case "user":
            return UserMessage(_read_parts(message, where))
        case "assistant":
            return AssistantMessage(
                _read_text(message, where, required=False),
                tuple(_read_call(c, where, i) for i, c in enumerate(message.tool_calls or [])),
            )
        case "tool":
            if not message.tool_call_id:
                raise InvalidParameter(
                    (*where, "tool_call_id"), None, "A tool message needs a 'tool_call_id'."
                )
            return ToolMessage(message.tool_call_id, _read_text(message, where, required=False))
        case unknown:
            raise InvalidParameter(
                (*where, "role"),
                unknown,
                f"'{unknown}' is not a role; use system, developer, user, assistant or tool.",
            )


def _read_text(message: MessageBody, where: Location, *, required: bool) -> str:
    content = message.content
    if isinstance(content, str):
        return content
    if content is None:
        if required:
            raise InvalidParameter(
                (*where, "content"), None, f"A {message.role} message needs 'content'."
            )
        return ""
    texts = [part.text if part.text is not None else part.refusal for part in content]
    for number, text in enumerate(texts):
        if text is None:
            raise InvalidParameter(
                (*where, "content", number),
                content[number].type,
                f"A {message.role} message takes text only.",
            )
    return "".join(text or "" for text in texts)


def _read_parts(message: MessageBody, where: Location) -> tuple[Part, ...]:
    content = message.content
    if content is None:
        raise InvalidParameter((*where, "content"), None, "A user message needs 'content'.")
    if isinstance(content, str):
        return (TextPart(content),)
    return tuple(_read_part(p, (*where, "content", i)) for i, p in enumerate(content))


def _read_part(part: ContentPart, where: Location) -> Part:
    match part.type:
        case "text":
            text = part.text if part.text is not None else part.content
            if text is not None:
                return TextPart(text)
        case "image_url" | "image":
            if part.image_url is not None:
                image = part.image_url
                return _read_image(ImageUrl(image) if isinstance(image, str) else image, where)
            if part.content is not None:
                return _read_image(ImageUrl(part.content), where)
        case "input_audio":
            if part.input_audio is not None:
                clip = part.input_audio
                return AudioPart(_base64(clip.data, (*where, "input_audio", "data")), clip.format)
        case "audio_url":
            if part.audio_url is not None:
                return _read_audio_url(part.audio_url.url, where)
        case unknown:
            raise InvalidParameter(
                (*where, "type"),
                unknown,
                f"'{unknown}' is not a content type; use text, image_url, input_audio or"
                " audio_url.",
            )
    raise InvalidParameter(where, part.type, f"A part of type '{part.type}' lacks its content.")


def _read_image(image: ImageUrl, where: Location) -> Part:
    media_type, content = _read_url(image.url, (*where, "image_url", "url"))
    if content is None:
        return MediaReference("image", image.url)
    return ImagePart(content, media_type, image.detail or "auto")


def _read_audio_url(url: str, where: Location) -> Part:
    media_type, content = _read_url(url, (*where, "audio_url", "url"))
    if content is None:
        return MediaReference("audio", url)
    return AudioPart(content, media_type.rpartition("/")[2])


def read_data_url(url: str, where: Location) -> bytes:
    """The bytes in a base64 data URL. Raises `InvalidParameter` for anything else."""
    _, content = _read_url(url, where)
    if content is None:
        raise InvalidParameter(
            where, url[:64], "Only data URLs are taken here: data:image/png;base64,..."
        )
    return content


def _read_url(url: str, where: Location) -> tuple[str, bytes | None]:
    """Media type and bytes of a data URL; no bytes for a web address."""
    match = _DATA_URL.match(url)
    if match is not None:
        return match["type"].lower(), _base64(url[match.end() :], where)
    if url.lower().startswith(("http://", "https://")):
        return "", None
    raise InvalidParameter(
        where, url[:64], "The URL is neither a base64 data URL nor an http(s) address."
    )


def _base64(text: str, where: Location) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidParameter(where, text[:64], "The content is not valid base64.") from None
    if not content:
        raise InvalidParameter(where, "", "The content is empty.")
    return content


def _read_call(call: ToolCallBody, where: Location, number: int) -> ToolCall:
    """Clients echo calls with nulls, an index, or arguments as an object: all of that is read."""
    function = call.function
    if function is None or not function.name:
        raise InvalidParameter(
            (*where, "tool_calls", number, "function", "name"), None, "A tool call needs a name."
        )
    arguments = function.arguments
    if isinstance(arguments, dict):
        arguments = codec.encode(arguments).decode()
    return ToolCall(call.id or f"call_{number}", function.name, arguments or "{}")


def _read_tools(tools: list[ToolBody]) -> tuple[Tool, ...]:
    if len(tools) > MAX_TOOLS:
        raise InvalidParameter(("tools",), len(tools), f"More than {MAX_TOOLS} tools.")
    return tuple(_read_tool(tool, ("tools", i)) for i, tool in enumerate(tools))


def _read_tool(tool: ToolBody, where: Location) -> Tool:
    function = tool.function
    if tool.type != "function" or function is None:
        raise InvalidParameter(
            (*where, "type"), tool.type, "A tool has the type 'function' and a 'function'."
        )
    if not NAME.fullmatch(function.name):
        raise InvalidParameter((*where, "function", "name"), function.name, _name_text("function"))
    return Tool(
        name=function.name,
        parameters=function.parameters or {"type": "object", "properties": {}},
        description=function.description or "",
        strict=bool(function.strict),
    )


def _read_choice(choice: str | NamedToolBody | None, tools: tuple[Tool, ...]) -> ToolChoice:
    if choice is None or choice == "auto":
        return "auto"
    if choice == "none":
        return "none"
    if not tools:
        raise InvalidParameter(("tool_choice",), str(choice), "'tool_choice' needs 'tools'.")
    if choice == "required":
        return "required"
    names = {tool.name for tool in tools}
    if isinstance(choice, str):
        if choice in names:  # as langchain-azure-ai writes it
            return NamedTool(choice)
        raise InvalidParameter(
            ("tool_choice",),
            choice,
            f"'{choice}' is not a tool choice; use auto, none, required or a function by name.",
        )
    name = choice.function.name if choice.function else ""
    if name not in names:
        raise InvalidParameter(
            ("tool_choice", "function", "name"), name, f"No tool is called '{name}'."
        )
    return NamedTool(name)


def _read_format(body: str | ResponseFormat) -> OutputFormat:
    kind = body.type if isinstance(body, ResponseFormat) else body or "text"
    match kind:
        case "text":
            return "text"
        case "json_object":
            return "json_object"
        case "json_schema" if isinstance(body, ResponseFormat) and body.json_schema is not None:
            return _read_schema(body.json_schema)
        case "json_schema":
            raise InvalidParameter(
                ("response_format", "json_schema"), None, "'json_schema' needs its schema."
            )
        case unknown:
            raise InvalidParameter(
                ("response_format", "type"),
                unknown,
                f"'{unknown}' is not a response format; use text, json_object or json_schema.",
            )


def _read_schema(body: JsonSchemaBody) -> JsonSchema:
    where = ("response_format", "json_schema")
    if not NAME.fullmatch(body.name):
        raise InvalidParameter((*where, "name"), body.name, _name_text("schema"))
    if body.schema is None:
        raise InvalidParameter((*where, "schema"), None, "'schema' must be a JSON Schema object.")
    return JsonSchema(body.name, body.schema, bool(body.strict))


def _name_text(what: str) -> str:
    return f"A {what} name has 1 to 64 characters out of A-Z, a-z, 0-9, _ and -."


def write_chat(call: ChatCall, model: str, *, stream: bool) -> ChatRequest:
    """The request that means `call`, in the form every OpenAI-compatible server reads."""
    request = ChatRequest(
        messages=[_write_message(message) for message in call.messages],
        model=model,
        stream=stream,
        response_format=_write_format(call.format),
        tools=[_write_tool(tool) for tool in call.tools] or None,
        tool_choice=_write_choice(call),
        parallel_tool_calls=None if call.parallel_tool_calls else False,
        modalities=None if call.modalities == ("text",) else list(call.modalities),
        reasoning_effort=call.reasoning_effort,
    )
    write_sampling(call.sampling, request)
    if call.sampling.logprobs is not None:
        request.logprobs = True
        request.top_logprobs = call.sampling.logprobs or None
    return request


def _write_message(message: Message) -> MessageBody:
    match message:
        case SystemMessage(text=text):
            return MessageBody("system", text)
        case UserMessage(parts=(TextPart(text=text),)):
            return MessageBody("user", text)
        case UserMessage(parts=parts):
            return MessageBody("user", [_write_part(part) for part in parts])
        case AssistantMessage(text=text, tool_calls=calls):
            bodies = [write_call(call) for call in calls]
            return MessageBody("assistant", text, tool_calls=bodies or None)
        case ToolMessage(tool_call_id=call_id, text=text):
            return MessageBody("tool", text, tool_call_id=call_id)


def _write_part(part: Part) -> ContentPart:
    match part:
        case TextPart(text=text):
            return ContentPart("text", text=text)
        case ImagePart(content=content, media_type=media_type, detail=detail):
            url = f"data:{media_type};base64,{base64.b64encode(content).decode()}"
            return ContentPart("image_url", image_url=ImageUrl(url, detail))
        case AudioPart(content=content, format=kind):
            text = base64.b64encode(content).decode()
            return ContentPart("input_audio", input_audio=InputAudio(text, kind))
        case MediaReference(kind="image", url=url):
            return ContentPart("image_url", image_url=ImageUrl(url))
        case MediaReference(url=url):
            return ContentPart("audio_url", audio_url=AudioUrl(url))


def write_call(call: ToolCall, index: int | None = None) -> ToolCallBody:
    """A tool call as it stands in a message, or with its `index` in a stream."""
    return ToolCallBody(index, call.id, "function", FunctionCall(call.name, call.arguments))


def _write_tool(tool: Tool) -> ToolBody:
    return ToolBody(
        "function",
        FunctionBody(tool.name, tool.description or None, tool.parameters, tool.strict or None),
    )


def _write_choice(call: ChatCall) -> str | NamedToolBody | None:
    match call.tool_choice:
        case NamedTool(name=name):
            return NamedToolBody("function", NamedFunction(name))
        case "auto":
            return None
        case choice:
            return choice if call.tools else None


def _write_format(form: OutputFormat) -> ResponseFormat | None:
    match form:
        case "text":
            return None
        case "json_object":
            return ResponseFormat("json_object")
        case JsonSchema(name=name, schema=schema, strict=strict):
            body = JsonSchemaBody(name, schema, strict=strict or None)
            return ResponseFormat("json_schema", body)
