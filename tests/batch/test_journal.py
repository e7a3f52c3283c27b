"""The journal: nothing noted is lost, a torn line is nothing, and one batch at a time."""

import pytest

from wdlora.batch.journal import Journal, read
from wdlora.errors import InputError


def test_events_come_back(tmp_path):
    with Journal(tmp_path / "deep" / "journal.jsonl") as journal:
        journal.append("done", id="1", name="ä")
        journal.append("failed", id="2", error="why")
    with Journal(tmp_path / "deep" / "journal.jsonl") as journal:
        assert [(event["event"], event["id"]) for event in journal.events] == [("done", "1"), ("failed", "2")]
        assert journal.events[0]["name"] == "ä"


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_torn_last_line_costs_that_line_alone(tmp_path, cut):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append("done", id="1")
        whole = path.stat().st_size
        journal.append("done", id="2")
    with path.open("rb+") as file:
        file.truncate(max(path.stat().st_size - cut, whole))
    with Journal(path) as journal:
        journal.append("done", id="3")
    ids = [event["id"] for event in read(path)]
    assert ids == (["1", "2", "3"] if cut == 1 else ["1", "3"])  # without its line break alone, it is whole


def test_lines_that_are_no_events_are_passed_over(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'7\n[]\n{}\n{"event": 3}\n\xff\xfe\n{"event": "done", "id": "1"}\n\n')
    assert [event["id"] for event in read(path)] == ["1"]
    assert read(tmp_path / "nowhere") == []


def test_two_batches_cannot_work_in_one_folder(tmp_path):
    with (
        Journal(tmp_path / "journal.jsonl"),
        pytest.raises(InputError, match="another process is at work"),
        Journal(tmp_path / "journal.jsonl"),
    ):
        pass
    with Journal(tmp_path / "journal.jsonl"):
        pass
