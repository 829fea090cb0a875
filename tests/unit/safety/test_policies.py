"""Policies: which there are, what they need, and that wrong ones are refused."""

import msgspec
import pytest
from scripted_filters import said

from zaffre.config.settings import ConfigurationError
from zaffre.core.calls import ChatCall, EmbedCall, TextPart, UserMessage
from zaffre.core.deltas import Embeddings, Usage
from zaffre.core.errors import ContentFiltered
from zaffre.core.safety import ContentSafety, ScreenReport
from zaffre.safety.policies import Outside, Screens


async def embed(call: EmbedCall) -> Embeddings:
    return Embeddings((b"\0" * 384 * 4,) * len(call.texts), Usage(1))


def screens(section: dict[str, object], outside: Outside | None = None) -> Screens:
    everything = Outside(embed, lambda _: said([]), None)
    return Screens(msgspec.convert(section, ContentSafety), outside or everything)


def test_off_means_no_screen():
    assert screens({}).named("off") is None


def test_default_is_always_there_and_made_once():
    made = screens({})
    assert made.named("default") is made.named("default")
    assert made.named("default") is not None


async def test_a_declared_policy_does_what_it_says():
    section = {
        "blocklists": {"house": {"words": ["grue"]}},
        "policies": {"strict": {"filters": ["blocklist"], "blocklists": ["house"]}},
    }
    strict = screens(section).named("strict")
    call = ChatCall((UserMessage((TextPart("A grue!"),)),))
    with pytest.raises(ContentFiltered) as refused:
        await strict.check_prompt(call, ScreenReport())
    assert refused.value.screened.filtered == {"blocklist:house"}


def test_an_unknown_policy_is_refused_with_the_known_ones():
    with pytest.raises(ConfigurationError, match="default, off"):
        screens({}).named("strikt")


@pytest.mark.parametrize(
    ("filters", "needs"),
    [
        (["classifier"], "content_safety.embedding"),
        (["remote"], "content_safety.remote"),
        (["judge"], "content_safety.judge"),
    ],
)
def test_a_filter_says_what_it_needs(filters: list[str], needs: str):
    made = screens({"policies": {"p": {"filters": filters}}}, Outside())
    with pytest.raises(ConfigurationError, match=needs):
        made.named("p")


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"policies": {"off": {}}}, "means no policy"),
        ({"policies": {"p": {"blocklists": ["nowhere"]}}}, "nowhere"),
        ({"policies": {"p": {"filters": []}}}, "no filter"),
        ({"policies": {"p": {"filters": ["blocklist"]}}}, "no filter"),
        (
            {
                "blocklists": {"a": {}},
                "policies": {"p": {"filters": ["classifier"], "blocklists": ["a"]}},
            },
            "not the filter",
        ),
        ({"blocklists": {"a": {"patterns": ["(a"]}}}, "blocklists.a"),
    ],
)
def test_what_cannot_be_is_refused_at_start(section: dict[str, object], says: str):
    with pytest.raises(ConfigurationError, match=says):
        screens(section)


@pytest.mark.parametrize(
    "section",
    [
        {"policies": {"p": {"prompts": {"hat": "low"}}}},
        {"policies": {"p": {"prompts": {"hate": "lowest"}}}},
        {"policies": {"p": {"timeout_s": 0}}},
        {"policies": {"p": {"filters": ["magic"]}}},
    ],
)
def test_fields_are_checked_where_the_file_is_read(section: dict[str, object]):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(section, ContentSafety)
