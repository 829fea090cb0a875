"""A sibling: one more gateway process on the port of the first, which starts it.

`python -m zaffre.cli.sibling`, with a `SiblingGiven` as JSON on standard input. It says on standard
output that it listens, and serves until it is told to stop or the first process is gone.
"""

import asyncio
import os
import signal
import socket
import sys

from zaffre.asgi.orphans import die_with_parent, keep_output
from zaffre.asgi.serving import HttpServer, event_loop
from zaffre.boot import SiblingGateway, SiblingGiven
from zaffre.cli.answering import make_app, make_config, open_access_log, set_up_log
from zaffre.core.errors import ZaffreError
from zaffre.server.forwarding import ForwardedPlatform
from zaffre.service.siblings.keeping import LISTENING
from zaffre.wire import codec


def main() -> None:
    """Run one sibling to its end."""
    report_fd = keep_output()
    given = codec.decode(sys.stdin.buffer.readline(), SiblingGiven)
    die_with_parent(given.parent_pid)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # files are the first process's to read
    set_up_log(given.settings, f"[gateway {given.name}] ")
    with asyncio.Runner(loop_factory=event_loop) as runner:
        try:
            runner.run(_serve(given, report_fd))
        except ZaffreError as error:
            sys.exit(error.message)


async def _serve(given: SiblingGiven, report_fd: int) -> None:
    sibling = SiblingGateway(given)
    access_log = open_access_log(given.settings)
    platform = ForwardedPlatform(sibling.first.forward)
    app = make_app(given.settings, sibling.gateway, sibling.door, platform, access_log)
    config = make_config(given.settings, app)
    server = HttpServer(config, lambda _: _say(report_fd))
    try:
        await sibling.start()
        await server.serve(sockets=[socket.socket(fileno=given.listener_fd)])
    finally:
        await sibling.aclose()
        if access_log is not None:
            await access_log.aclose()


def _say(report_fd: int) -> None:
    os.write(report_fd, LISTENING)


if __name__ == "__main__":
    main()
