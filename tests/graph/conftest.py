"""A small graph and a host that runs it, shared with the host's own tests."""

from tests.host.conftest import graph as graph
from tests.host.conftest import host as host
from tests.host.conftest import sink as sink
