"""A small graph and a host that runs it, shared with the host's own tests."""

import pytest

from tests.host.conftest import graph as graph
from tests.host.conftest import host as host
from tests.host.conftest import sink as sink


@pytest.fixture
def titled(graph):
    """The small graph, whose first node has a title of its own."""
    graph["1"]["_meta"] = {"title": "Load the mask"}
    return graph
