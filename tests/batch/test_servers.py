"""A batch on real servers: results come back, what a server has is not sent again, a dead server's jobs move."""

import json
import signal
import time
import urllib.request

import pytest

from wdlora.cli import main

from .conftest import GRAPH, check_whole, serve, start, write_masks


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """Two servers, (process, url) each."""
    made = [serve(tmp_path_factory.mktemp(f"server{index}") / "data") for index in range(2)]
    yield made
    for process, _ in made:
        if process.poll() is None:
            process.terminate()
        process.wait(30)


def ask(url: str, path: str):
    with urllib.request.urlopen(url + path, timeout=10) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_results_come_from_a_server_and_are_not_made_twice(place, servers, capsys):
    (_, url), _ = servers
    command = ["batch", "flow.json", "--masks", "masks", "--server", url]
    assert main([*command, "--out", "out"]) == 0
    manifest = check_whole(place / "out", 3)
    ids = [job["id"] for job in manifest["jobs"]]
    assert all(job["server"] == url for job in manifest["jobs"])
    history = ask(url, "/history")
    assert set(ids) <= set(history)

    # The same jobs once more, as if the answer had been lost: the history is asked, nothing is sent.
    assert main([*command, "--out", "again"]) == 0
    second = check_whole(place / "again", 3)
    assert [job["files"][0]["sha256"] for job in second["jobs"]] == [
        job["files"][0]["sha256"] for job in manifest["jobs"]
    ]
    assert set(ask(url, "/history")) == set(history)
    events = [json.loads(line)["event"] for line in (place / "again" / "journal.jsonl").read_text().splitlines()]
    assert events.count("sent") == 0 and events.count("done") == 3


@pytest.mark.slow
def test_a_refused_graph_is_one_line(place, servers, capsys):
    (_, url), _ = servers
    command = ["batch", "flow.json", "--masks", "masks", "--server", url, "--out", "out"]
    assert main([*command, "--set", "The mask.channel=purple"]) != 0
    captured = capsys.readouterr()
    assert "Value not in list" in captured.err and "Traceback" not in captured.err


@pytest.mark.slow
def test_two_servers_and_one_is_killed_in_the_middle(tmp_path, servers):
    """The jobs of the dead server move to the other; the batch itself is killed too, and goes on."""
    (dying, first), (_, second) = servers
    (tmp_path / "flow.json").write_text(json.dumps(GRAPH))
    write_masks(tmp_path / "masks", 60)
    journal = tmp_path / "out" / "journal.jsonl"
    command = ["batch", "flow.json", "--masks", "masks", "--out", "out", "--server", first, "--server", second]

    def done() -> int:
        return journal.read_bytes().count(b'"done"') if journal.exists() else 0

    process = start(*command, cwd=tmp_path)
    while done() < 10:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)  # the batch dies with jobs on both servers
    process.wait(30)
    process = start(*command, cwd=tmp_path)
    while done() < 25:
        assert process.poll() is None
        time.sleep(0.002)
    dying.kill()
    dying.wait(30)
    assert process.wait(120) == 0
    manifest = check_whole(tmp_path / "out", 60)
    by = {url: sum(job["server"] == url for job in manifest["jobs"]) for url in (first, second)}
    assert by[first] > 0 and by[second] > 0
