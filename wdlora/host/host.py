"""One embedded host: folders, nodes, engine and executor put together."""

import os
import uuid
from collections.abc import Iterable
from typing import Any

from ..quiet import silence_kernel_warning
from . import core_nodes, pack
from .api import install
from .engine import HostEngine
from .executor import Executor, PromptJob, Result, Sink
from .folders import Folders, open_folders, using
from .registry import Registry
from .validation import Verdict, validate

PACK_NAME = "wdlora-ccm"


class Host:
    """Runs API-format graphs in this process.

    base: directory with input, output, temp, user and models; models: more directories with ComfyUI's model
    folders; output: another place for results; sink: where messages go; device: "cpu", "cuda", …, or None for
    the best one there is. Raises InputError for a device that is not there.
    """

    def __init__(
        self,
        base: str | os.PathLike,
        models: Iterable[str | os.PathLike] = (),
        output: str | os.PathLike | None = None,
        sink: Sink | None = None,
        device: str | None = None,
    ):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # bitsandbytes and transformers must not ask their hub
        silence_kernel_warning()
        install()
        if device is not None:
            from ..qwen.memory import pick_device

            pick_device(device)
        self.folders = Folders(base, models, output)
        self.engine = HostEngine(device)
        self.activate()
        self.registry = Registry()
        for cls, display_name, module in core_nodes.classes():
            self.registry.add(cls, module, display_name=display_name)
        for cls in pack.node_classes():
            self.registry.add(cls, f"custom_nodes.{PACK_NAME}")
        self.executor = Executor(self.registry, self.folders, sink, prepare=self.activate, stamps=pack.stamps)

    def activate(self) -> None:
        """Make this host the one that nodes and `folder_paths` speak to; done before every job."""
        open_folders(self.folders)
        pack.engine_module().register(self.engine)

    def validate(self, prompt: Any, targets: list[str] | None = None) -> Verdict:
        """Check a graph; see `wdlora.host.validation.validate`."""
        with using(self.folders):
            return validate(prompt, self.registry, targets)

    def object_info(self) -> dict[str, Any]:
        """/object_info: every node's inputs, outputs and help."""
        with using(self.folders):
            return self.registry.info()

    def run(self, prompt: Any, extra_pnginfo: dict[str, Any] | None = None) -> tuple[Verdict, Result | None]:
        """Validate and execute a graph in this thread. No result where validation found no output to run."""
        verdict = self.validate(prompt)
        if not verdict.outputs:
            return verdict, None
        extra = {} if extra_pnginfo is None else {"extra_pnginfo": extra_pnginfo}
        job = PromptJob(str(uuid.uuid4()), prompt, verdict.outputs, extra_data=extra)
        return verdict, self.executor.execute(job)
