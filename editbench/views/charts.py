"""Charts as inline SVG: no styles of their own, only classes, so that the page's colours, dark ones too, apply.

Places along an axis are percentages and heights are pixels: a chart becomes as wide as there is room, while its strokes
and letters stay as they are. The same numbers stand in a table beside each chart, so all a chart tells a screen reader
is its title.
"""

import math
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from markupsafe import Markup

_SCATTER = 340
_MARGIN = 34


def histogram(counts: Sequence[int], title: str, height: int = 64) -> Markup:
    """Draw how many scores lie in each bin.

    Args:
        counts: Scores per bin, from the lowest bin to the highest.
        title: What a screen reader says.
        height: Pixels of the highest bar.
    """
    svg = _canvas(title, height)
    width, most = 100 / max(1, len(counts)), max([*counts, 1])
    for place, count in enumerate(counts):
        tall = height * count / most if count else 0
        bar = _add(svg, "rect", "bar", x=f"{place * width + width * 0.06:.3f}%", width=f"{width * 0.88:.3f}%")
        bar.attrib |= {"y": f"{height - tall:.2f}", "height": f"{tall:.2f}"}
    _add(svg, "line", "axis", x1="0", x2="100%", y1=str(height - 0.5), y2=str(height - 0.5))
    return _markup(svg)


def interval(
    point: float | None, bounds: Sequence[float] | None, axis: tuple[float, float], mark: float, title: str
) -> Markup:
    """Draw one row of an interval plot: a point with its interval.

    Args:
        point: The estimate; None draws the axis alone.
        bounds: Its interval; None where it is not known.
        axis: Lowest and highest value of the axis, the same in all rows.
        mark: Where a line stands to compare with: the overall mean, or no difference.
        title: What a screen reader says.
    """
    svg = _canvas(title, 22)

    def place(value: float) -> str:
        low, high = axis
        return f"{100 * (min(max(value, low), high) - low) / (high - low):.3f}%"

    _add(svg, "line", "rail", x1="0", x2="100%", y1="11", y2="11")
    _add(svg, "line", "mark", x1=place(mark), x2=place(mark), y1="0", y2="22")
    if bounds:
        _add(svg, "line", "whisker", x1=place(bounds[0]), x2=place(bounds[1]), y1="11", y2="11")
        for bound in bounds:
            _add(svg, "line", "whisker", x1=place(bound), x2=place(bound), y1="7", y2="15")
    if point is not None:
        _add(svg, "circle", "point", cx=place(point), cy="11", r="4.5")
    return _markup(svg)


def scatter(
    points: Mapping[tuple[float, float], int], names: tuple[str, str], title: str, scale: tuple[float, float] = (0, 10)
) -> Markup:
    """Draw scores of two runs against each other.

    Args:
        points: How many samples have a pair of scores; the area of a point grows with it.
        names: What stands along the horizontal and the vertical axis.
        title: What a screen reader says.
        scale: Lowest and highest value of both axes.
    """
    low, high = scale
    size = _SCATTER + 2 * _MARGIN
    svg = _canvas(title, size)
    svg.attrib |= {"viewBox": f"0 0 {size} {size}", "class": "chart scatter"}
    del svg.attrib["height"]

    def across(score: float) -> str:
        return f"{_MARGIN + _SCATTER * (score - low) / (high - low):.1f}"

    def up(score: float) -> str:
        return f"{_MARGIN + _SCATTER * (high - score) / (high - low):.1f}"

    for tick in (low + (high - low) * number / 10 for number in range(0, 11, 2)):
        _add(svg, "line", "grid", x1=across(tick), x2=across(tick), y1=up(low), y2=up(high))
        _add(svg, "line", "grid", x1=across(low), x2=across(high), y1=up(tick), y2=up(tick))
        _add(svg, "text", "tick middle", x=across(tick), y=str(size - _MARGIN + 16)).text = f"{tick:g}"
        _add(svg, "text", "tick end", x=str(_MARGIN - 8), y=f"{float(up(tick)) + 4:.1f}").text = f"{tick:g}"
    _add(svg, "line", "mark", x1=across(low), x2=across(high), y1=up(low), y2=up(high))
    most = max([*points.values(), 1])
    for (first, second), count in sorted(points.items(), key=lambda item: -item[1]):
        radius = f"{3 + 9 * math.sqrt((count - 1) / most):.1f}"
        _add(svg, "circle", "dot", cx=across(first), cy=up(second), r=radius)
    _add(svg, "text", "tick middle", x=across((low + high) / 2), y=str(size - 3)).text = names[0]
    vertical = _add(svg, "text", "tick middle", x="0", y="0", transform=f"translate(11 {size / 2}) rotate(-90)")
    vertical.text = names[1]
    return _markup(svg)


def _canvas(title: str, height: float) -> ElementTree.Element:
    attributes = {"class": "chart", "width": "100%", "height": str(height), "role": "img", "aria-label": title}
    return ElementTree.Element("svg", attributes)


def _add(svg: ElementTree.Element, tag: str, style: str, **attributes: str) -> ElementTree.Element:
    return ElementTree.SubElement(svg, tag, {"class": style, **attributes})


def _markup(svg: ElementTree.Element) -> Markup:
    return Markup(ElementTree.tostring(svg, encoding="unicode"))  # ElementTree escapes all text
