"""The worker process: `python -m zaffre.worker`, with a `WorkerSpec` as JSON on standard input.

It loads the engine, says on standard output that it serves (or why it cannot), and serves until it
is told to stop, its parent is gone, or the engine has given up, which it says as well.
"""

import asyncio
import logging
import os
import resource
import sys
from contextlib import suppress

from zaffre.asgi.orphans import die_with_parent, keep_output
from zaffre.asgi.serving import HttpServer, event_loop, server_config
from zaffre.core.engine import Engine, MortalEngine, WorkerReport, WorkerSpec
from zaffre.core.errors import ZaffreError
from zaffre.engines.table import make_engine
from zaffre.wire import codec
from zaffre.worker.app import WorkerApp

DRAIN_S = 10
"""How long requests in flight may take to end after a stop."""
KEEP_ALIVE_S = 3600
"""The gateway's connections are its own and stay open between requests."""
log = logging.getLogger("zaffre.worker")


def main() -> None:
    """Run one worker to its end."""
    report_fd = keep_output()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    spec = codec.decode(sys.stdin.buffer.readline(), WorkerSpec)
    die_with_parent(spec.parent_pid)
    if spec.memory_limit_bytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (spec.memory_limit_bytes, spec.memory_limit_bytes))
    with asyncio.Runner(loop_factory=event_loop) as runner:
        runner.run(_serve(spec, report_fd))


async def _serve(spec: WorkerSpec, report_fd: int) -> None:
    try:
        engine = make_engine(spec.engine, spec.spec)
        capabilities = await engine.start()
    except ZaffreError as error:
        _report(report_fd, WorkerReport(error=error.message))
        sys.exit(1)
    try:
        app = WorkerApp(
            engine,
            capabilities,
            secret=spec.secret,
            max_requests=spec.spec.slots + spec.max_waiting,
        )
        config = server_config(
            app,
            uds=spec.socket,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=DRAIN_S,
        )
        ready = WorkerReport(capabilities)
        server = HttpServer(config, lambda _: _report(report_fd, ready))
        cause = await _serve_while_alive(server, engine)
    finally:
        await engine.aclose()
    if cause is not None:
        log.error("the engine has given up: %s", cause)
        _report(report_fd, WorkerReport(error=cause))
        sys.exit(1)


async def _serve_while_alive(server: HttpServer, engine: Engine) -> str | None:
    """Serve until told to stop, or until the engine has given up: then the cause."""
    if not isinstance(engine, MortalEngine):
        await server.serve()
        return None
    end = asyncio.create_task(engine.ended())
    end.add_done_callback(lambda _: setattr(server, "should_exit", True))
    await server.serve()
    if end.done():
        return end.result()
    end.cancel()
    return None


def _report(report_fd: int, report: WorkerReport) -> None:
    with suppress(BrokenPipeError):  # nobody has to listen to the second one
        os.write(report_fd, codec.encode(report) + b"\n")


if __name__ == "__main__":
    main()
