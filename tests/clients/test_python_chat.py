"""Chat through azure-ai-inference: answers, parameters, message classes."""

import json

import pytest
from azure.ai.inference.models import (
    AssistantMessage,
    ChatCompletionsToolCall,
    CompletionsFinishReason,
    DeveloperMessage,
    FunctionCall,
    SystemMessage,
    TextContentItem,
    ToolMessage,
    UserMessage,
)
from azure_checks import AnyChatClient, check_completion, check_usage, settled

CAPITAL = [
    SystemMessage("You are a helpful assistant."),
    UserMessage("What is the capital of France?"),
]


async def test_a_question_is_answered(chat: AnyChatClient):
    response = await settled(chat.complete(messages=CAPITAL, temperature=0))
    check_completion(response, contains="Paris")
    assert json.loads(str(response)) == response.as_dict()


async def test_a_conversation_goes_on(chat: AnyChatClient):
    first = await settled(chat.complete(messages=CAPITAL, temperature=0))
    messages = [
        *CAPITAL,
        AssistantMessage(first.choices[0].message.content),
        UserMessage("and of Italy?"),
    ]
    second = await settled(chat.complete(messages=messages, temperature=0))
    check_completion(second, contains="Rome")
    assert second.usage.prompt_tokens > first.usage.prompt_tokens


async def test_a_body_may_be_a_plain_dict(chat: AnyChatClient):
    body = {"messages": [message.as_dict() for message in CAPITAL], "temperature": 0}
    check_completion(await settled(chat.complete(body)), contains="Paris")


async def test_a_body_may_be_bytes(chat: AnyChatClient):
    body = {"messages": [message.as_dict() for message in CAPITAL], "temperature": 0}
    check_completion(await settled(chat.complete(json.dumps(body).encode())), contains="Paris")


@pytest.mark.parametrize("model", ["smollm2-135m-instruct", "SmolLM2-135M-Instruct"])
async def test_a_model_is_named_in_any_case(chat: AnyChatClient, model: str):
    response = await settled(chat.complete(messages=CAPITAL, model=model, temperature=0))
    check_completion(response, contains="Paris")
    assert response.model == "smollm2-135m-instruct"


@pytest.mark.parametrize("header", ["azureml-model-deployment", "x-ms-model-mesh-model-name"])
async def test_a_model_is_named_by_header(chat: AnyChatClient, header: str):
    headers = {header: "smollm2-135m-instruct"}
    response = await settled(chat.complete(messages=CAPITAL, headers=headers, temperature=0))
    check_completion(response, contains="Paris")


async def test_every_class_of_message_is_understood(chat: AnyChatClient):
    call = ChatCompletionsToolCall(
        id="call_1", function=FunctionCall(name="look_up", arguments='{"country": "France"}')
    )
    messages = [
        SystemMessage("You answer in one sentence."),
        DeveloperMessage("Be polite."),
        UserMessage(
            [TextContentItem(text="Look up the capital"), TextContentItem(text=" of France.")]
        ),
        AssistantMessage(tool_calls=[call]),
        ToolMessage("Paris", tool_call_id="call_1"),
        AssistantMessage("The capital of France is Paris."),
        UserMessage("Which city did you name?"),
    ]
    response = await settled(chat.complete(messages=messages, temperature=0, max_tokens=40))
    assert response.choices[0].message.content
    check_usage(response.usage)


async def test_max_tokens_cuts_the_answer(chat: AnyChatClient):
    response = await settled(chat.complete(messages=CAPITAL, max_tokens=3, temperature=0))
    assert response.choices[0].finish_reason == CompletionsFinishReason.TOKEN_LIMIT_REACHED
    assert response.usage.completion_tokens == 3


async def test_a_stop_sequence_ends_the_answer_before_itself(chat: AnyChatClient):
    response = await settled(chat.complete(messages=CAPITAL, stop=[" is"], temperature=0))
    check_completion(response)
    assert response.choices[0].message.content == "The capital of France"


async def test_a_seed_repeats_an_answer(chat: AnyChatClient):
    def ask(seed: int):
        question = [UserMessage("Tell me a story about a dragon.")]
        return chat.complete(messages=question, seed=seed, temperature=1.5, max_tokens=24)

    answers = [(await settled(ask(seed))).choices[0].message.content for seed in (7, 7, 8)]
    assert answers[0] == answers[1] != answers[2]


async def test_sampling_parameters_have_an_effect(chat: AnyChatClient):
    question = [UserMessage("Write the word 'echo' many times.")]
    plain = await settled(chat.complete(messages=question, temperature=0, max_tokens=48))
    varied = await settled(
        chat.complete(
            messages=question,
            temperature=0,
            max_tokens=48,
            frequency_penalty=2,
            presence_penalty=2,
        )
    )
    assert plain.choices[0].message.content != varied.choices[0].message.content


async def test_top_p_of_nothing_is_greedy(chat: AnyChatClient):
    # At this temperature and without top_p, the answer is a salad of words.
    response = await settled(
        chat.complete(messages=CAPITAL, temperature=2, top_p=0.0001, seed=3, max_tokens=16)
    )
    check_completion(response, contains="Paris")
