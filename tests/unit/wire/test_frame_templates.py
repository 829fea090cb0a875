"""Frames that are written once and filled often: byte for byte what writing them anew gives."""

from hypothesis import given
from hypothesis import strategies as st

from zaffre.wire import codec, sse
from zaffre.wire.chat import AnswerDelta, ChatChunk, ChunkChoice
from zaffre.wire.templates import MARK, FrameTemplate


def written(model: str, text: str) -> bytes:
    choice = ChunkChoice(0, AnswerDelta(content=text), None)
    return sse.frame(codec.encode(ChatChunk(id="i", model=model, choices=[choice])))


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters=MARK)), st.text())
def test_a_filled_frame_is_the_written_one(model: str, text: str):
    template = FrameTemplate(written(model, MARK))
    assert template.filled(text) == written(model, text)
