"""Serve the ComfyUI front end with this pack's nodes, on this machine and for this machine only.

It needs no ComfyUI and no GPU, and sends no request to another machine. Below the folder of --data, pictures to load
belong in input and models in models/diffusion_models, text_encoders, vae and loras; results are written to output.
"""

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from typing import Any

from ..errors import InputError

EXAMPLE = "python -m wdlora serve --port 8188 --models ~/ComfyUI/models"


DATA = "wdlora-data"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to listen, and the folders."""
    parser.add_argument(
        "--port", type=int, default=8188, help="port to listen on, or 0 for any free port (default: %(default)s)"
    )
    parser.add_argument(
        "--listen", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (default: this machine only)"
    )
    add_host_arguments(parser)


def add_host_arguments(parser: argparse.ArgumentParser) -> None:
    """What every command that opens an embedded host takes."""
    parser.add_argument(
        "--data", default=DATA, metavar="DIR", help=f"folder of input, output and models (default: {DATA})"
    )
    parser.add_argument(
        "--models", action="append", default=[], metavar="DIR", help="another models folder, such as ComfyUI's"
    )
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 … (default: CUDA if there is one)")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    if not 0 <= args.port <= 65535:
        raise InputError(f"--port is {args.port}; give a number from 0 to 65535")
    from ..host.server.app import serve
    from ..host.server.security import is_loopback

    def make_host(sink: Any) -> Any:
        from ..host import Host

        host = Host(args.data, args.models, sink=sink, device=args.device)
        host.folders.clear_temp()
        return host

    def ready(url: str) -> None:
        print(f"open {url} in a browser; stop with Ctrl-C", flush=True)
        if not is_loopback(args.listen):
            print(
                f"warning: everybody who reaches {args.listen} can run graphs and read the folders of {args.data}",
                file=sys.stderr,
            )

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises instead
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await serve(make_host, args.listen, args.port, ready)

    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
    return 0
