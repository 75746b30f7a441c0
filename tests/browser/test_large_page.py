"""How long the page of a large run takes, for the record: pytest -m slow -s tests/browser/test_large_page.py"""

import time

import pytest
from made_report import made_report
from playwright.sync_api import expect

from editbench.views.html import to_html

FILTER = """text => new Promise(resolve => {
    const search = document.querySelector('[name=q]'), start = performance.now();
    search.value = text;
    search.dispatchEvent(new Event('input', { bubbles: true }));
    requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - start)));
})"""
PAINTED = "() => new Promise(r => requestAnimationFrame(() => setTimeout(() => r(performance.now()))))"
WORDS = ("shadow is missing", "causal/0", "hat", "no such text", "")


class Clock:
    """The time on the wall, and the processor time of the page's main thread, which a busy machine leaves as it is."""

    def __init__(self, page):
        self.devtools = page.context.new_cdp_session(page)
        self.devtools.send("Performance.enable", {"timeDomain": "threadTicks"})

    def cpu_ms(self):
        metrics = self.devtools.send("Performance.getMetrics")["metrics"]
        return 1000 * next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")


@pytest.mark.slow
@pytest.mark.parametrize("samples", [270, 5000])
def test_a_large_run_can_be_looked_through(samples, opened, tmp_path):
    path = tmp_path / "report.html"
    made = made_report(samples, folder=tmp_path)
    started = time.process_time()
    path.write_text(to_html(made), encoding="utf-8")
    print(
        f"\n{samples} samples: {path.stat().st_size / 2**20:.2f} MiB, made in {time.process_time() - started:.2f} s CPU"
    )
    clock, page = Clock(opened.page), opened.goto(path)
    print(f"first view: {page.evaluate(PAINTED):.0f} ms, {clock.cpu_ms():.0f} ms CPU")
    expect(page.locator("#grid .card")).to_have_count(48)
    for words in WORDS:
        before = clock.cpu_ms()
        took = page.evaluate(FILTER, words)
        print(f"filter {words!r}: {took:.0f} ms, {clock.cpu_ms() - before:.0f} ms CPU")
    expect(page.locator("#found")).to_have_text(f"{samples:,} samples")
