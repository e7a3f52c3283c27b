"""A page as Chromium prints it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest


def sheets(page: Path, folder: Path) -> int:
    """The number of sheets of A4 that an HTML file takes; skips where there is no Chromium."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None and not os.environ.get("CI"):
        pytest.skip("no Chromium on this machine; CI has one")
    assert browser is not None, "install chromium"
    printed = folder / "printed.pdf"
    asked = ["--headless", "--no-sandbox", f"--user-data-dir={folder}", f"--print-to-pdf={printed}", page.as_uri()]
    subprocess.run([browser, *asked], check=True, timeout=300, capture_output=True)
    return len(re.findall(rb"/Type /Page\b", printed.read_bytes()))
