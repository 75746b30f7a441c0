"""Takes the README's screenshots: the head of a run's report, and one sample with the slider.

python scripts/screenshots.py runs/mine docs

Needs chromium on the PATH; the run needs its report.html and thumbnails. Writes report.png and sample.png, with
the fewest colours that keep them below 200 KB.
"""

import io
import json
import shutil
import sys
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image
from playwright.sync_api import sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
SIZE = {"width": 1280, "height": 860}
LIMIT = 200_000
DECODED = "Promise.all([...document.querySelectorAll('#viewer img')].map(image => image.decode()))"


def main(run: str, target: str) -> None:
    """Take the screenshots of the run folder `run` and write them to the folder `target`."""
    page_file = (Path(run) / "report.html").resolve()
    samples = json.loads((Path(run) / "report.json").read_text(encoding="utf-8"))["samples"]
    shown = max((sample for sample in samples if sample["thumbs"]), key=lambda sample: sample["score"] or 0)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        link = urlencode({"sample": shown["sample_id"], "view": "slider"})
        for name, hash in (("report", ""), ("sample", f"#{link}")):
            page = browser.new_page(viewport=SIZE)
            page.goto(f"{page_file.as_uri()}{hash}")
            page.evaluate(DECODED)
            save(page.screenshot(), Path(target) / f"{name}.png")
            page.close()
        browser.close()


def save(png: bytes, path: Path) -> None:
    """Write a PNG with a palette, smaller until it is below the limit."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    for colors in (256, 128, 64, 32):
        image.quantize(colors, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size <= LIMIT:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
