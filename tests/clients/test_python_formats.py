"""Response formats through azure-ai-inference: always valid, even from a small model."""

import json

import jsonschema
from azure.ai.inference.models import JsonSchemaFormat, SystemMessage, UserMessage
from azure_checks import AnyChatClient, check_completion, settled, text_of, updates_of

QUESTION = [
    SystemMessage("You answer in JSON."),
    UserMessage("Describe a cat: its name, its age in years and its colours."),
]
CAT = JsonSchemaFormat(
    name="cat",
    description="A cat.",
    strict=True,
    schema={
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 16},
            "age": {"type": "integer", "minimum": 0, "maximum": 30},
            "colours": {
                "type": "array",
                "items": {"enum": ["black", "white", "ginger"]},
                "minItems": 1,
                "maxItems": 2,
            },
        },
        "required": ["name", "age", "colours"],
        "additionalProperties": False,
    },
)


async def test_text_is_the_format_of_old(chat: AnyChatClient):
    asked = {"messages": QUESTION, "temperature": 0, "max_tokens": 16}
    plain = await settled(chat.complete(**asked))
    text = await settled(chat.complete(**asked, response_format="text"))
    assert text.choices[0].message.content == plain.choices[0].message.content


async def test_json_object_is_an_object(chat: AnyChatClient):
    response = await settled(
        chat.complete(
            messages=QUESTION, response_format="json_object", temperature=0, max_tokens=512
        )
    )
    check_completion(response)
    assert isinstance(json.loads(response.choices[0].message.content), dict)


async def test_a_schema_is_kept(chat: AnyChatClient):
    response = await settled(
        chat.complete(messages=QUESTION, response_format=CAT, temperature=0, max_tokens=256)
    )
    check_completion(response)
    jsonschema.validate(json.loads(response.choices[0].message.content), CAT.schema)


async def test_a_schema_is_kept_against_the_models_wish(chat: AnyChatClient):
    response = await settled(
        chat.complete(
            messages=[UserMessage("Write a poem about the sea.")],
            response_format=CAT,
            temperature=2,
            seed=1,
            max_tokens=256,
        )
    )
    jsonschema.validate(json.loads(response.choices[0].message.content), CAT.schema)


async def test_a_schema_is_kept_in_a_stream(chat: AnyChatClient):
    updates = await updates_of(
        chat.complete(
            messages=QUESTION, response_format=CAT, stream=True, temperature=0, max_tokens=256
        )
    )
    jsonschema.validate(json.loads(text_of(updates)), CAT.schema)
