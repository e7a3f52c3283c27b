"""Masks that change after an import: replaced, kept, refused or accepted, and the table says what they measure."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from wdlora.anatomy.biomarkers.panel import measure
from wdlora.cli import main
from wdlora.dataset import corrections
from wdlora.dataset.folder import read_folder
from wdlora.dataset.importer import import_dataset
from wdlora.dataset.plan import Choices
from wdlora.dataset.writer import read_table
from wdlora.errors import InputError

CHOICES = Choices(pixel_size_um=1.0, cohorts={"": "Control"})


def picture(seed):
    """Dark noise with one bright line, so that there is something to trace."""
    pixels = np.random.default_rng(seed).integers(40, 60, (96, 96)).astype(np.uint8)
    pixels[20:24] = 200
    return pixels


def line(*rows):
    mask = np.zeros((96, 96), np.uint8)
    for row in rows:
        mask[row : row + 3] = 255
    return mask


@pytest.fixture
def source(tmp_path):
    place = tmp_path / "source"
    for name in ("images", "masks"):
        (place / name).mkdir(parents=True)
    for number in (1, 2):
        Image.fromarray(picture(number)).save(place / "images" / f"{number}.png")
        Image.fromarray(line(20)).save(place / "masks" / f"{number}.png")
    return place


def rows(place):
    return {row["file"]: row for row in read_table(place / "dataset.csv")[1]}


def is_whole(place):
    """Table, records, provenance and files agree with each other and with a measurement of their masks."""
    records = [json.loads(text) for text in (place / "metadata.jsonl").read_text().splitlines()]
    assert len(read_folder(place)) == len(records) == len(rows(place))
    for record, (file, row) in zip(records, rows(place).items(), strict=True):
        mask = place / "masks" / file
        told = json.loads((place / "provenance" / file.replace(".png", ".json")).read_text())
        hashed = hashlib.sha256(mask.read_bytes()).hexdigest()
        assert hashed == row["mask_sha256"] == record["mask_sha256"] == told["mask_sha256"]
        with Image.open(mask) as pixels:
            cnfl = measure(np.asarray(pixels) > 0, 1.0).cnfl
        for said in (float(row["cnfl"]), told["biomarkers"]["cnfl"], record["cnfl"]):
            assert said == pytest.approx(cnfl, rel=1e-5)  # six digits in the table


def test_a_mask_corrected_at_its_source_replaces_the_imported_one(source, tmp_path):
    out = tmp_path / "out"
    import_dataset(source, out, CHOICES)
    before = {file: row["cnfl"] for file, row in rows(out).items()}
    old = (out / "masks" / "Control-000001.png").read_bytes()
    Image.fromarray(line(20, 60)).save(source / "masks" / "1.png")
    report = import_dataset(source, out, CHOICES)
    assert (report.written, report.already_there, report.replaced) == (0, 1, 1)
    after = {file: row["cnfl"] for file, row in rows(out).items()}
    assert float(after["Control-000001.png"]) == pytest.approx(2 * float(before["Control-000001.png"]), rel=0.05)
    assert after["Control-000002.png"] == before["Control-000002.png"]
    (kept,) = (out / "masks").glob(".Control-000001.*.png")
    assert kept.read_bytes() == old
    is_whole(out)
    again = import_dataset(source, out, CHOICES)
    assert (again.written, again.already_there, again.replaced) == (0, 2, 0)


def test_a_mask_that_was_edited_in_the_data_set_is_not_replaced(source, tmp_path):
    out = tmp_path / "out"
    import_dataset(source, out, CHOICES)
    edited = out / "masks" / "Control-000001.png"
    Image.fromarray(line(70)).save(edited)
    Image.fromarray(line(20, 60)).save(source / "masks" / "1.png")
    mine = edited.read_bytes()
    report = import_dataset(source, out, CHOICES)
    assert report.replaced == 0 and len(rows(out)) == 2 and edited.read_bytes() == mine
    assert any("was edited in the data set and kept" in note for note in report.notes)


def test_an_experts_mask_is_not_replaced_by_a_traced_one(source, tmp_path):
    out, choices = tmp_path / "out", Choices(pixel_size_um=1.0, cohorts={"": "Control"}, trace=True)
    import_dataset(source, out, choices)
    expert = (out / "masks" / "Control-000001.png").read_bytes()
    (source / "masks" / "1.png").unlink()
    report = import_dataset(source, out, choices)
    assert report.replaced == 0 and len(rows(out)) == 2
    assert (out / "masks" / "Control-000001.png").read_bytes() == expert
    assert any("an expert's mask" in note for note in report.notes)


def test_a_traced_mask_gives_way_to_an_experts(source, tmp_path):
    out, choices = tmp_path / "out", Choices(pixel_size_um=1.0, cohorts={"": "Control"}, trace=True)
    mask = (source / "masks" / "1.png").read_bytes()
    (source / "masks" / "1.png").unlink()
    assert import_dataset(source, out, choices).traced == 1
    (source / "masks" / "1.png").write_bytes(mask)
    assert import_dataset(source, out, choices).replaced == 1
    with Image.open(out / "masks" / "Control-000001.png") as found:
        assert np.array_equal(np.asarray(found), line(20))
    is_whole(out)


def test_a_kill_between_mask_and_table_is_made_up_for(source, tmp_path, monkeypatch):
    out = tmp_path / "out"
    import_dataset(source, out, CHOICES)
    Image.fromarray(line(20, 60)).save(source / "masks" / "1.png")
    with monkeypatch.context() as patch:
        patch.setattr(corrections, "write_csv", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            import_dataset(source, out, CHOICES)
    with pytest.raises(InputError, match=r"1 masks .* are not those"):
        read_folder(out)
    import_dataset(source, out, CHOICES)
    is_whole(out)


def test_a_corrected_mask_is_refused_until_it_is_accepted(source, tmp_path, capsys):
    out = tmp_path / "out"
    import_dataset(source, out, CHOICES)
    Image.fromarray(line(20, 50, 80)).save(out / "masks" / "Control-000002.png")
    with pytest.raises(InputError, match=r"\(Control-000002.png\).*`python -m wdlora accept-masks .*out`"):
        read_folder(out)
    assert main(["accept-masks", str(out)]) == 0
    assert capsys.readouterr().out == "accepted: Control-000002.png\n"
    is_whole(out)
    assert main(["accept-masks", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"accepted": []}


def test_a_mask_that_does_not_fit_is_not_accepted(source, tmp_path):
    out = tmp_path / "out"
    import_dataset(source, out, CHOICES)
    before = (out / "dataset.csv").read_bytes()
    Image.fromarray(line(20)[:, :50]).save(out / "masks" / "Control-000002.png")
    with pytest.raises(InputError, match=r"mask of Control-000002.png is 50 × 96 pixels and its image 96 × 96"):
        corrections.accept(out)
    assert (out / "dataset.csv").read_bytes() == before
    with pytest.raises(InputError, match="is not a data set"):
        corrections.accept(source)


def test_tracing_is_refused_while_masks_belong_to_no_image(source, tmp_path):
    for number in (1, 2):
        shutil.move(source / "masks" / f"{number}.png", source / "masks" / f"{number}_expert.png")
    choices = Choices(pixel_size_um=1.0, cohorts={"": "Control"}, trace=True)
    with pytest.raises(InputError, match=r"2 masks belong to no image, first 1_expert.png, and 2 images have no mask"):
        import_dataset(source, tmp_path / "out", choices)
    assert not (tmp_path / "out").exists()
    for mask in (source / "masks").iterdir():
        mask.unlink()
    (source / "masks" / ".hidden.png").touch()
    assert import_dataset(source, tmp_path / "out", choices).traced == 2
