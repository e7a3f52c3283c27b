"""A workflow said once and written twice: as the front end keeps it (schema 0.4) and in API form.

What nodes have is read from /object_info, so that a file cannot say what a node does not take.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

PACK, CORE = "wdlora-ccm", "comfy-core"
CORE_VERSION = "0.33.0"
NAMESPACE = uuid.UUID("2f3c8f0a-33a5-5b8e-9a0f-6c1f4a1e8d11")

TITLE, SLOT, WIDGET, TEXT = 30, 20, 24, 96
"""Heights in the front end's pixels: a title bar, a socket's row, a widget's row, a text of several lines."""

GAP, ASIDE = 56, 80
"""Distances between nodes below and beside each other; Nodes 2.0 draws some nodes a row higher."""

READABLE = 0.6
"""Scale below which the front end draws no texts."""

BYPASSED = 4


@dataclass
class Node:
    """A node of a workflow. `given` holds widget values and, for links, `Socket`s."""

    id: int
    kind: str
    title: str
    width: int
    room: int
    given: dict[str, Any]
    info: dict[str, Any]
    bypassed: bool = False
    properties: dict[str, Any] = field(default_factory=dict)
    pos: tuple[int, int] = (0, 0)
    colour: tuple[str, str] | None = None

    def __getitem__(self, output: str) -> "Socket":
        """The output of that name."""
        names = self.info["output_name"]
        if output not in names:
            raise KeyError(f"{self.kind} has no output {output!r}; it has {', '.join(names)}")
        return Socket(self, names.index(output))

    def inputs(self) -> list[tuple[str, Any, dict[str, Any], bool]]:
        """(name, type, options, whether it is a widget) of every input, as the front end orders them."""
        found = []
        for part in ("required", "optional"):
            for name in self.info["input_order"].get(part, []):
                spec = self.info["input"][part][name]
                options = spec[1] if len(spec) > 1 else {}
                kind = "COMBO" if isinstance(spec[0], list) else spec[0]
                widget = kind in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO") and not options.get("forceInput")
                found.append((name, kind, options, widget))
        return found

    @property
    def height(self) -> int:
        """Of the body, without the title bar."""
        if self.kind == "MarkdownNote":
            return self.room
        inputs = self.inputs()
        slots = max(sum(not widget for *_, widget in inputs), len(self.info["output"]))
        rows = 0
        for _, _, options, widget in inputs:
            if widget:
                rows += TEXT if options.get("multiline") else WIDGET
                rows += WIDGET * bool(options.get("control_after_generate") or options.get("image_upload"))
        return 12 + slots * SLOT + rows + self.room


@dataclass(frozen=True)
class Socket:
    """An output of a node."""

    node: Node
    index: int

    @property
    def type(self) -> str:
        """Such as "IMAGE"."""
        return self.node.info["output"][self.index]


class Flow:
    """One workflow: nodes in columns, in groups."""

    def __init__(self, name: str, info: dict[str, Any], version: str):
        self.name, self.info, self.version = name, info, version
        self.nodes: list[Node] = []
        self.groups: list[tuple[str, str, list[Node]]] = []

    def add(
        self,
        kind: str,
        title: str | None = None,
        *,
        width: int = 330,
        room: int = 0,
        bypassed: bool = False,
        models: Sequence[dict[str, str]] = (),
        **given: Any,
    ) -> Node:
        """A node with its values and links. `room`: extra height, for a table or a picture."""
        info = self.info[kind]
        node = Node(len(self.nodes) + 1, kind, title or info["display_name"], width, room, given, info, bypassed)
        _check(node)
        ours = info["python_module"].startswith("custom_nodes.")
        node.properties = {
            "cnr_id": PACK if ours else CORE,
            "ver": self.version if ours else CORE_VERSION,
            "Node name for S&R": kind,
        }
        if models:
            node.properties["models"] = [dict(model) for model in models]
        self.nodes.append(node)
        return node

    def note(self, text: str, width: int, height: int, title: str = "Read me") -> Node:
        """A note in Markdown."""
        info = {"input": {}, "input_order": {}, "output": [], "output_name": []}
        node = Node(len(self.nodes) + 1, "MarkdownNote", title, width, height, {"": text}, info)
        node.colour = ("#2a3442", "#161c24")
        self.nodes.append(node)
        return node

    def place(self, x: int, y: int, *nodes: Node) -> int:
        """Put nodes below each other from a column's upper left corner; returns where the column ends."""
        for node in nodes:
            node.pos = (x, y + TITLE)
            y += TITLE + node.height + GAP
        return y - GAP

    def rows(self, x: int, y: int, *rows: Sequence[Sequence[Node]]) -> int:
        """Put rows of columns of nodes from an upper left corner on; returns where the last row ends."""
        for row in rows:
            left, end = x, y
            for column in row:
                end = max(end, self.place(left, y, *column))
                left += max(node.width for node in column) + ASIDE
            y = end + 2 * GAP
        return y - 2 * GAP

    def group(self, title: str, colour: str, *nodes: Node) -> None:
        """A frame around nodes."""
        self.groups.append((title, colour, list(nodes)))

    def api(self) -> dict[str, Any]:
        """The graph in API form."""
        graph = {}
        for node in self.nodes:
            if node.kind == "MarkdownNote" or node.bypassed:
                continue
            inputs: dict[str, Any] = {}
            for name, _, options, widget in node.inputs():
                value = node.given.get(name, options.get("default") if widget else None)
                if isinstance(value, Socket):
                    source = _through(value)
                    inputs[name] = [str(source.node.id), source.index]
                elif widget:
                    inputs[name] = _default(options, self._spec(node, name)) if value is None else value
            meta = {"title": node.title, "cnr_id": node.properties["cnr_id"], "ver": node.properties["ver"]}
            graph[str(node.id)] = {"class_type": node.kind, "inputs": inputs, "_meta": meta}
        return graph

    def ui(self) -> dict[str, Any]:
        """The workflow as the front end keeps it."""
        links: list[list[Any]] = []
        ends: dict[tuple[int, int], list[int]] = {}
        listed = []
        for order, node in enumerate(self.nodes):
            slots: list[dict[str, Any]] = []
            for name, kind, _, widget in self._slots(node):
                slot: dict[str, Any] = {"name": name, "type": kind}
                if widget:
                    slot["widget"] = {"name": name}
                elif self._optional(node, name):
                    slot["shape"] = 7
                slot["link"] = None
                source = node.given.get(name)
                if isinstance(source, Socket):
                    links.append([len(links) + 1, source.node.id, source.index, node.id, len(slots), source.type])
                    ends.setdefault((source.node.id, source.index), []).append(len(links))
                    slot["link"] = len(links)
                slots.append(slot)
            listed.append(self._node(node, order, slots))
        for node, written in zip(self.nodes, listed, strict=True):
            written["outputs"] = [
                {"name": name, "type": kind, "links": ends.get((node.id, index))}
                for index, (name, kind) in enumerate(zip(node.info["output_name"], node.info["output"], strict=True))
            ]
        return {
            "id": str(uuid.uuid5(NAMESPACE, self.name)),
            "revision": 0,
            "last_node_id": len(self.nodes),
            "last_link_id": len(links),
            "nodes": listed,
            "links": links,
            "groups": [self._group(index, *group) for index, group in enumerate(self.groups, 1)],
            "config": {},
            "extra": {"ds": self._view()},
            "version": 0.4,
        }

    def _node(self, node: Node, order: int, slots: list[dict[str, Any]]) -> dict[str, Any]:
        written: dict[str, Any] = {
            "id": node.id,
            "type": node.kind,
            "pos": list(node.pos),
            "size": [node.width, node.height],
            "flags": {},
            "order": order,
            "mode": BYPASSED if node.bypassed else 0,
            "inputs": slots,
            "outputs": [],
            "title": node.title,
            "properties": node.properties,
            "widgets_values": list(self._values(node)),
        }
        if node.colour:
            written["color"], written["bgcolor"] = node.colour
        return written

    def _values(self, node: Node) -> Iterable[Any]:
        """Widget values by position: a seed is followed by what becomes of it, an upload by its button."""
        if node.kind == "MarkdownNote":
            yield node.given[""]
            return
        for name, _, options, widget in node.inputs():
            if not widget:
                continue
            value = node.given.get(name)
            yield _default(options, self._spec(node, name)) if value is None else value
            if options.get("control_after_generate"):
                yield "fixed"
            if options.get("image_upload"):
                yield "image"

    def _slots(self, node: Node) -> list[tuple[str, Any, dict[str, Any], bool]]:
        """Sockets first, then the sockets of widgets, as the front end writes them."""
        inputs = node.inputs()
        return [one for one in inputs if not one[3]] + [one for one in inputs if one[3]]

    def _spec(self, node: Node, name: str) -> Any:
        for part in ("required", "optional"):
            if name in node.info["input"].get(part, {}):
                return node.info["input"][part][name]
        raise KeyError(name)

    def _optional(self, node: Node, name: str) -> bool:
        return name in node.info["input"].get("optional", {})

    def _group(self, index: int, title: str, colour: str, nodes: list[Node]) -> dict[str, Any]:
        left, top = min(n.pos[0] for n in nodes) - 20, min(n.pos[1] for n in nodes) - TITLE - 50
        right = max(n.pos[0] + n.width for n in nodes) + 20
        bottom = max(n.pos[1] + n.height for n in nodes) + 20
        bounding = [left, top, right - left, bottom - top]
        return {"id": index, "title": title, "bounding": bounding, "color": colour, "font_size": 24, "flags": {}}

    def _view(self) -> dict[str, Any]:
        """Scale and offset to begin with: the whole graph in a window of 1600 × 900, or as much as can be read."""
        left, top = min(n.pos[0] for n in self.nodes) - 40, min(n.pos[1] for n in self.nodes) - TITLE - 80
        width = max(n.pos[0] + n.width for n in self.nodes) + 40 - left
        height = max(n.pos[1] + n.height for n in self.nodes) + 40 - top
        scale = round(max(min(1440 / width, 840 / height, 1.0), READABLE), 3)
        return {"scale": scale, "offset": [round(100 / scale - left), round(50 / scale - top)]}


def _through(socket: Socket) -> Socket:
    """The output that a bypassed node passes on: that of its first input of the same type."""
    while socket.node.bypassed:
        kinds = {name: kind for name, kind, _, _ in socket.node.inputs()}
        socket = next(
            value
            for name, value in socket.node.given.items()
            if isinstance(value, Socket) and kinds[name] == socket.type
        )
    return socket


def _default(options: dict[str, Any], spec: Any) -> Any:
    if "default" in options:
        return options["default"]
    listed = spec[0] if isinstance(spec[0], list) else options.get("options")
    if listed:
        return listed[0]
    return {"STRING": "", "BOOLEAN": False, "INT": 0, "FLOAT": 0.0}[spec[0]]


def _check(node: Node) -> None:
    """Raise where a node is given what it does not take, or lacks a link that it needs."""
    inputs = {name: (kind, options, widget) for name, kind, options, widget in node.inputs()}
    for name, value in node.given.items():
        if name not in inputs:
            raise KeyError(f"{node.kind} has no input {name!r}; it has {', '.join(inputs)}")
        kind, options, widget = inputs[name]
        if isinstance(value, Socket):
            if kind not in (value.type, "*"):
                raise TypeError(f"{node.kind}.{name} takes {kind}, not {value.type} of {value.node.kind}")
        elif not widget:
            raise TypeError(f"{node.kind}.{name} needs a link")
        elif kind in ("INT", "FLOAT") and not options.get("min", value) <= value <= options.get("max", value):
            raise ValueError(f"{node.kind}.{name} = {value} is outside {options['min']} to {options['max']}")
    for name in node.info["input_order"].get("required", []):
        if not inputs[name][2] and name not in node.given:
            raise KeyError(f"{node.kind}.{name} is not linked")
