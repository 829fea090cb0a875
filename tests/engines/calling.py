"""A template with a place for tools, and a conversation that makes even the starter call one."""

from zaffre.core.calls import AssistantMessage, TextPart, ToolCall, UserMessage

TOOL_TEMPLATE = """\
{%- for message in messages %}
{%- if loop.first and tools %}{{ '<|im_start|>system\\n<tools>' }}
{%- for tool in tools %}{{ '\\n' }}{{ tool | tojson }}{% endfor %}{{ '\\n</tools><|im_end|>\\n' }}
{%- endif %}
{{- '<|im_start|>' + message.role + '\\n' }}{% if message.content %}{{ message.content }}{% endif %}
{%- for call in message.tool_calls %}
{{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
{{- call.function.arguments | tojson }}{{ '}\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""


def weather_so_far() -> tuple[UserMessage | AssistantMessage, ...]:
    """A conversation in which each question was answered by a call."""
    said: list[UserMessage | AssistantMessage] = []
    for number, city in enumerate(("Rome", "Paris", "Oslo")):
        said.append(UserMessage((TextPart(f"Weather in {city}"),)))
        arguments = f'{{"city": "{city}", "unit": "c"}}'
        made = ToolCall(f"call_{number}", "get_weather", arguments)
        said.append(AssistantMessage(tool_calls=(made,)))
    return tuple(said[:-1])
