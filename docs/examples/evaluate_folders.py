"""Compare two folders of images, real and synthetic: `python docs/examples/evaluate_folders.py REAL SYNTHETIC OUT`.

Eight images a folder are the least, and a hundred patients are few: see docs/guides/evaluation.md.
"""

import sys
from pathlib import Path

from wdlora.evaluation import Crew, Options, compare_sets, read_set, write_evaluation
from wdlora.evaluation.report.sentences import answers

PIXEL_UM = (400 / 384, 400 / 384)  # for images that do not say it; leave the option out for DICOM or a data set

if __name__ == "__main__":
    real, synthetic, out = sys.argv[1:4]
    with Crew(2) as crew:
        sets = read_set(real, "real"), read_set(synthetic, "synthetic")
        found = compare_sets(*sets, options=Options(pixel_size_um=PIXEL_UM), crew=crew)
    for answer in answers(found):
        print(f"{answer.question} {answer.short}\n  {answer.sentence}")
    write_evaluation(found, Path(out))
    print(f"report: {Path(out) / 'report.html'}")
