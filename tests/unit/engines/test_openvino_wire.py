"""The line between the `openvino` engine and its runner."""

import socket

import pytest

from zaffre.core.errors import EngineFailed
from zaffre.engines.openvino.wire import (
    Cancel,
    Command,
    Event,
    Frames,
    Freed,
    Progress,
    RunnerEnd,
    frame,
)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_messages_come_whole_out_of_pieces(size: int):
    """Given frames cut anywhere, when the pieces are pushed, then the messages come in order."""
    sent = [Progress(7, "grüß", 2), Freed(7), Freed(8)]
    content = frame(sent[:2]) + frame(sent[2:])
    frames: Frames[Event] = Frames(Event)
    came = [m for at in range(0, len(content), size) for m in frames.push(content[at : at + size])]
    assert came == sent


def test_what_is_no_frame_is_noticed():
    """Given bytes that are no frame, when they are pushed, then nothing is waited for in vain."""
    frames: Frames[Event] = Frames(Event)
    with pytest.raises(EngineFailed):
        frames.push(b"INFO: something that a library printed")


def test_a_runner_hears_that_it_is_alone():
    """Given a worker that hangs up, when the runner waits for a command, then it is told."""
    ours, theirs = socket.socketpair()
    line = RunnerEnd(theirs)
    with theirs:
        with ours:
            ours.sendall(frame([Cancel(3), Cancel(4)]))
            expected: list[Command] = [Cancel(3), Cancel(4)]
            assert line.receive(wait=True) == expected
            assert line.receive(wait=False) == []
            assert not line.closed
        assert line.receive(wait=True) == []
        assert line.closed
        line.send([Freed(3)])
