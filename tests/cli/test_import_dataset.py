"""`import-dataset` on small trees: what is written, what stays behind, going on, refusals."""

import csv
import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.dataset import public_trees as trees
from training.examples import folder_examples, pair_references
from wdlora.anatomy import phantom, sample_mask, trace
from wdlora.cli import main
from wdlora.dataset.folder import read_folder
from wdlora.dataset.importer import BATCH, Choices, import_dataset
from wdlora.dataset.writer import check_pseudonym


def run(source, out, *more):
    return main(["import-dataset", str(source), "--out", str(out), "--pixel-size-um", "1.0417", *more])


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def provenance(out, file):
    return json.loads((out / "provenance" / file.replace(".png", ".json")).read_text(encoding="utf-8"))["source"]


def test_qilu_by_sets(tmp_path, capsys):
    source, out = trees.qilu(tmp_path / "in"), tmp_path / "out"
    assert run(source, out, "--cohort", "1=Control", "--cohort", "2=t1dpn", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["layout"] == "qilu" and report["written"] == 3 and report["patients"] is None
    assert "patient of its own" in report["notes"][0]
    records = read_folder(out)
    assert [record.cohort for record in records] == ["Control", "Control", "T1DPN"]
    assert [record.file for record in records] == ["Control-000001.png", "Control-000002.png", "T1DPN-000003.png"]
    assert all(record.patient == record.image.stem and record.pixel_size_um == 1.0417 for record in records)
    assert [provenance(out, record.file)["group"] for record in records] == ["1", "1", "2"]
    for record, column in zip(records, (15, 10, 20), strict=True):  # sorted by name: Jones, Smith, Brown
        image, mask = trees.picture(column)
        assert (pixels(record.image) == image).all() and ((pixels(record.mask) > 0) == mask).all()


def test_own_folder_with_a_table(tmp_path, capsys):
    source, out = trees.own(tmp_path / "in"), tmp_path / "out"
    assert run(source, out) == 0
    printed = capsys.readouterr().out
    assert "3 images written of 2 patients" in printed
    rows = {(r.patient, r.eye, r.visit, r.cohort) for r in read_folder(out)}
    assert rows == {("P001", "OD", "V1", "Control"), ("P001", "OS", "V2", "Control"), ("P002", "OS", "V1", "T1DPN")}
    first, second, third = pair_references(folder_examples(out))  # what training reads
    assert third.reference == second.identity and first.load()[0].shape == (trees.SIDE, trees.SIDE)
    with open(out / "dataset.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    for row in table:  # a line of 48 pixels in a field of 48 × 48 pixels is 1 / (48 · 1.0417 µm) long an area
        assert float(row["cnfl"]) == pytest.approx(1000 / (48 * 1.0417), rel=0.03) and row["synthetic"] == "0"


@pytest.mark.parametrize("keyed", [False, True])
def test_no_name_leaves_the_data_set(tmp_path, keyed, capsys):
    """Names, birthdays, dates and paths, looked for in every file's bytes and name and in what is printed."""
    source, out = trees.own(tmp_path / "clinic"), tmp_path / "out"
    (tmp_path / "secret").write_bytes(bytes(range(65, 91)))
    jones = source / "images" / "Jones_Bob.bmp"
    tagged = Image.fromarray(pixels(jones))
    jones.unlink()
    tagged.save(source / "images" / "Jones_Bob.tif", tiffinfo={270: "Jones Bob", 315: "Dr Miller"})
    table = source / "patients.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("Bob.bmp", "Bob.tif"), encoding="utf-8")
    assert run(source, out, "--json", *(["--key", str(tmp_path / "secret")] if keyed else [])) == 0
    everything = capsys.readouterr().out.encode()
    for path in sorted(out.rglob("*")):
        everything += path.relative_to(out).as_posix().encode() + (path.read_bytes() if path.is_file() else b"")
    for name in (
        "smith",
        "anna",
        "jones",
        "bob",
        "miller",
        "1955",
        "2023-05",
        "clinic",
        ".bmp",
        ".tif",
        "patients.csv",
    ):
        assert name.encode() not in everything.lower(), name
    assert len({record.patient for record in read_folder(out)}) == 2


def test_a_keyed_hash_is_a_pseudonym_even_with_a_date_in_it():
    assert check_pseudonym("Pabcdefabcdef") and check_pseudonym("P19550312abcd")


def test_padova_lines_and_their_width(tmp_path):
    source = trees.padova(tmp_path / "in")
    assert run(source, tmp_path / "thin", "--cohort", "Control") == 0
    assert run(source, tmp_path / "wide", "--cohort", "Control", "--line-width-um", "5.2") == 0
    for out, width in ((tmp_path / "thin", 1), (tmp_path / "wide", 5)):
        records = read_folder(out)
        assert [provenance(out, record.file)["split"] for record in records] == ["test", "training", "training"]
        for record in records:
            mask = pixels(record.mask) > 0
            assert (mask[8:-8].sum(1) == width).all()  # ends of the line apart
            with open(out / "dataset.csv", encoding="utf-8", newline="") as file:
                row = next(csv.DictReader(file))
            assert bool(row["mean_width_um"]) == (width == 5) and row["cnfl"]


def test_corn_without_masks_is_traced(tmp_path, capsys):
    source, out = tmp_path / "in", tmp_path / "out"
    image = phantom(sample_mask("Control", 3), 3)
    trees.save(source / "train" / "Level2" / "x.png", image)
    assert run(source, out, "--cohort", "Control") == 2
    assert "1 of 1 images have no annotation (x.png)" in (error := capsys.readouterr().err) and "--trace" in error
    assert not out.exists()
    assert run(source, out, "--cohort", "Level2=Control", "--trace") == 0
    assert "1 masks drawn by the tracer" in capsys.readouterr().out
    (record,) = read_folder(out)
    assert np.array_equal(pixels(record.mask) > 0, trace(image, 1.0417))
    assert provenance(out, record.file)["annotation"] == "traced"


def test_groups_left_out(tmp_path, capsys):
    source, out = trees.corn(tmp_path / "in"), tmp_path / "out"
    assert run(source, out, "--cohort", "Level3=none", "--cohort", "Control") == 0
    assert "1 not wanted" in capsys.readouterr().out
    assert [provenance(out, record.file)["group"] for record in read_folder(out)] == ["Level1", "Level2"]


def test_goes_on_where_it_stopped(tmp_path, capsys):
    """As after a kill before the last image: its rows are whole, a second run adds the rest and touches nothing."""
    source, out = trees.qilu(tmp_path / "in"), tmp_path / "out"
    last, note = source / "Dataset" / "images" / "2_Brown_OD.png", source / "Dataset" / "annotations" / "2_Brown_OD.png"
    held = {path: path.read_bytes() for path in (last, note)}
    for path in held:
        path.unlink()
    assert run(source, out, "--cohort", "Control") == 0
    stamps = {path: path.stat().st_mtime_ns for path in (out / "images").iterdir()}
    for path, content in held.items():
        path.write_bytes(content)
    capsys.readouterr()
    assert run(source, out, "--cohort", "Control", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["written"] == 1 and report["already_there"] == 2
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items()) and len(read_folder(out)) == 3


def test_a_roster_may_grow_but_not_change(tmp_path, capsys):
    source, out = trees.own(tmp_path / "in"), tmp_path / "out"
    assert run(source, out) == 0
    image, mask = trees.picture(30)
    trees.save(source / "images" / "new.png", image)
    trees.save(source / "masks" / "new.png", mask.astype(np.uint8) * 255)
    table = source / "patients.csv"
    grown = table.read_text(encoding="utf-8") + "new.png;Miller Eve;OD;V1;T1NoDPN\n"
    table.write_text(grown, encoding="utf-8")
    assert run(source, out) == 0
    before = read_folder(out)
    assert [record.patient for record in before] == ["P002", "P001", "P001", "P003"]
    header, *lines = grown.splitlines()
    for changed in (grown.replace("Bob;OS", "Bob;OD").splitlines(), [header, *reversed(lines)]):
        table.write_text("\n".join(changed), encoding="utf-8")
        capsys.readouterr()
        assert run(source, out) == 2
        assert "have another patient, eye, visit or cohort by now" in capsys.readouterr().err
    assert read_folder(out) == before


def test_interrupted_between_images(tmp_path):
    """What is done is neither read nor traced again: the second run is given the rest alone."""
    source, choices = tmp_path / "in", Choices(cohorts={"": "Control"}, pixel_size_um=1.0417)
    for number in range(BATCH + 3):
        image, mask = trees.picture(4 + 2 * number)
        trees.save(source / "images" / f"{number:02d}.png", image)
        trees.save(source / "annotations" / f"{number:02d}.png", mask.astype(np.uint8) * 255)

    def interrupted(items):
        yield from items[: BATCH + 1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_dataset(source, tmp_path / "out", choices, interrupted)
    assert len(read_folder(tmp_path / "out")) == BATCH
    seen = []
    report = import_dataset(source, tmp_path / "out", choices, lambda items: seen.extend(items) or items)
    assert [item.source.image.name for item in seen] == ["16.png", "17.png", "18.png"]
    assert (report.written, report.already_there) == (3, BATCH) and len(read_folder(tmp_path / "out")) == BATCH + 3


def test_inverted_masks_are_left_out(tmp_path, capsys):
    source, out = trees.qilu(tmp_path / "in"), tmp_path / "out"
    path = source / "Dataset" / "annotations" / "1_Jones_OS.png"
    trees.save(path, 255 - pixels(path))
    assert run(source, out, "--cohort", "Control") == 1
    assert "1_Jones_OS.png: nerves cover 94% of the mask" in capsys.readouterr().err and len(read_folder(out)) == 2


def another_hospital(root):
    """Pictures of its own, and a list that calls its first patient P001 as well."""
    source = trees.own(root)
    for path in (*(source / "images").iterdir(), *(source / "masks").iterdir()):
        with Image.open(path) as picture:
            turned = np.asarray(picture)[:, ::-1].copy()
        Image.fromarray(turned).save(path)
    return source


def test_numbers_of_two_lists_are_not_one_person(tmp_path, capsys):
    """P001 of another hospital, with none of the images that are there, is refused; of the same list it goes on."""
    source, out = trees.own(tmp_path / "in"), tmp_path / "out"
    assert run(source, out) == 0
    assert run(another_hospital(tmp_path / "other"), out) == 2
    said = capsys.readouterr().err
    assert "2 patients, first P001, are in" in said and "with none of the images given now" in said
    assert "import both with one --key" in said and len(read_folder(out)) == 3
    table = next(source.glob("*.csv"))
    name = next((source / "images").iterdir())
    for part in ("images", "masks"):
        first = next(path for path in (source / part).iterdir() if path.stem == name.stem)
        with Image.open(first) as picture:
            Image.fromarray(np.asarray(picture)[::-1].copy()).save(first.with_stem("later"))
    row = next(line for line in table.read_text().splitlines() if name.name in line or name.stem in line)
    with open(table, "a") as file:
        file.write(row.replace(name.name, f"later{name.suffix}").replace(name.stem, "later") + "\n")
    assert run(source, out) == 0 and len(read_folder(out)) == 4


def test_with_one_key_two_lists_are_one_set_of_people_and_with_another_key_refused(tmp_path, capsys):
    source, out = trees.own(tmp_path / "in"), tmp_path / "out"
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(name.encode() * 8)
    keyed = ["--key", str(tmp_path / "one")]
    assert run(source, out, *keyed) == 0
    other = another_hospital(tmp_path / "other")
    assert run(other, out, *keyed) == 2  # one person, but the first date of this list is another day's
    said = capsys.readouterr().err
    assert "2 visits, first P" in said and "V1, are in" in said and "counted from the dates of one list" in said
    table = next(other.glob("*.csv"))
    table.write_text(re.sub(r"20\d\d-\d\d-\d\d", "later", table.read_text()))
    assert run(other, out, *keyed) == 0
    assert [len(read_folder(out)), len({record.patient for record in read_folder(out)})] == [6, 2]
    for more in ([], ["--key", str(tmp_path / "two")]):
        assert run(source, out, *more) == 2
        assert "was imported with another key" in capsys.readouterr().err
    assert b"oneone" not in (out / "import.json").read_bytes()


def test_other_settings_and_other_folders_are_refused(tmp_path, capsys):
    source, out = trees.qilu(tmp_path / "in"), tmp_path / "out"
    assert run(source, out, "--cohort", "Control") == 0
    assert run(source, out, "--cohort", "T1DPN") == 2
    assert "imported with another cohorts" in capsys.readouterr().err
    assert run(source, source, "--cohort", "Control") == 2
    assert "give an empty folder" in capsys.readouterr().err


def test_a_damaged_image_is_left_out_and_named(tmp_path, capsys):
    source, out = trees.qilu(tmp_path / "in"), tmp_path / "out"
    damaged = source / "Dataset" / "images" / "1_Smith_OD.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    assert run(source, out, "--cohort", "Control", "--json") == 1
    streams = capsys.readouterr()
    assert "left out: 1_Smith_OD.png" in streams.err and "Smith" not in streams.out
    assert json.loads(streams.out)["failed"] == 1 and len(read_folder(out)) == 2


@pytest.mark.parametrize(
    ("tree", "more", "message"),
    [
        (trees.qilu, [], "3 of 3 images have no cohort: give --cohort NAME for all, --cohort 1=NAME for the group 1"),
        (trees.qilu, ["--cohort", "1=Control"], "1 of 3 images have no cohort"),
        (trees.qilu, ["--cohort", "7=Control"], "--cohort names 7, but this qilu data set has 1, 2"),
        (trees.qilu, ["--cohort", "T2DM"], "there is no cohort 'T2DM'"),
        (trees.qilu, ["--cohort", "none"], "nothing is left to import"),
        (trees.qilu, ["--cohort", "Control", "--cohort", "T1DPN"], "a second cohort"),
        (trees.qilu, ["--cohort", "Control", "--roster", "{tmp}/no.csv"], "there is no file"),
        (trees.qilu, ["--cohort", "Control", "--roster", "{tmp}/one.csv"], "has no line for 2 of 3 images"),
        (trees.corn, ["--cohort", "Control", "--roster", "{tmp}/one.csv"], "img.png is there more than once"),
        (trees.padova, ["--cohort", "Control", "--layout", "corn"], "not laid out as 'corn'"),
        (trees.padova, ["--cohort", "Control", "--line-width-um", "0"], "--line-width-um 0"),
        (trees.qilu, ["--cohort", "Control", "--line-width-um", "3.5"], "this qilu data set has none: leave it out"),
        (trees.qilu, ["--cohort", "Control", "--key", "{tmp}/secret"], "name a roster with --roster"),
        (trees.own, ["--layout", "zip"], "there is no layout 'zip'"),
    ],
)
def test_refusals_in_one_sentence(tmp_path, tree, more, message, capsys):
    (tmp_path / "secret").write_bytes(bytes(range(65, 91)))
    (tmp_path / "one.csv").write_text("file,patient\n1_Smith_OD.png,Smith\n", encoding="utf-8")
    assert run(tree(tmp_path / "in"), tmp_path / "out", *(word.format(tmp=tmp_path) for word in more)) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_unknown_pixel_size_is_said(tmp_path, capsys):
    source = trees.qilu(tmp_path / "in")
    assert main(["import-dataset", str(source), "--out", str(tmp_path / "out"), "--cohort", "Control"]) == 0
    assert (
        "the pixel size is unknown, so nothing was measured: give --pixel-size-um (3 images)" in capsys.readouterr().out
    )
    assert all(record.pixel_size_um is None for record in read_folder(tmp_path / "out"))
