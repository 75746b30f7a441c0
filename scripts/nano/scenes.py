"""Scenes of simple shapes, instructions to edit them, and what has to come out: the world of the nano models.

A scene is a picture of 4 x 4 cells: one background colour, a floor along the bottom, and up to three shapes, each in
a cell of its own. An edit names an operation on a scene; the scene after it is known, so success is known.
"""

from dataclasses import dataclass, field

import numpy as np

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
COLOURS_ZH = ("红色", "橙色", "黄色", "绿色", "蓝色", "紫色", "白色", "黑色")
SHAPES = ("circle", "square", "triangle")
SHAPES_ZH = ("圆形", "方形", "三角形")
BACKGROUNDS = ("grey", "beige", "pink", "sky-blue", "mint", "brown")
BACKGROUNDS_ZH = ("灰色", "米色", "粉色", "天蓝色", "薄荷色", "棕色")
FAMILIES = ("recolour", "remove", "background", "move", "referential", "drop")
CATEGORIES = {
    "recolour": "referential",
    "remove": "referential",
    "background": "environmental",
    "move": "physical",
    "referential": "referential",
    "drop": "physical",
}
SIDES = ("leftmost", "rightmost", "topmost", "bottommost")
SIDES_ZH = ("最左边", "最右边", "最上面", "最下面")
WAYS = ("to the left", "to the right", "up", "down")
WAYS_ZH = ("左", "右", "上", "下")
STEPS = ((0, -1), (0, 1), (-1, 0), (1, 0))  # (row, column) of each of WAYS

SIZE = 4  # cells along each side
CELLS = SIZE * SIZE
KINDS = 1 + len(SHAPES) * len(COLOURS)  # 0 nothing, else 1 + shape * 8 + colour
RADII = (10.15, 9.3, 11.0)  # of shapes, in pixels of 128
ROOM = (2.2, 2.75, 1.5)  # how far from the middle of its cell a shape of each radius may stand, in pixels
SHIFTS = (0.0, -1.0, -0.5, 0.5, 1.0)  # in shares of that, to the right and downwards
PLACINGS = tuple(
    (size, right, down) for size in range(len(RADII)) for right in range(len(SHIFTS)) for down in range(len(SHIFTS))
)
THINGS = 1 + len(PLACINGS) * (KINDS - 1)  # what a cell can hold: 0 nothing, else 1 + placing * 24 + kind - 1
NONE = -1  # a label that does not apply

TEMPLATES = {
    "recolour": ("Make the {c} {s} {n}.", "Change the {c} {s} to {n}.", "Paint the {c} {s} {n}."),
    "remove": ("Remove the {c} {s}.", "Take the {c} {s} away.", "Delete the {c} {s}."),
    "background": ("Make the background {b}.", "Change the background to {b}.", "Turn the background {b}."),
    "move": ("Move the {c} {s} one cell {w}.", "Shift the {c} {s} {w} by one cell."),
    "referential": ("Make the {r} shape {n}.", "Paint the {r} shape {n}.", "Change the {r} shape to {n}."),
    "drop": ("Drop the {c} {s} to the floor.", "Let the {c} {s} fall to the floor."),
}
TEMPLATES_ZH = {
    "recolour": ("把{c}{s}变成{n}。", "将{c}{s}改为{n}。"),
    "remove": ("移除{c}{s}。", "把{c}{s}去掉。"),
    "background": ("把背景变成{b}。", "将背景改为{b}。"),
    "move": ("把{c}{s}向{w}移动一格。", "将{c}{s}往{w}移一格。"),
    "referential": ("把{r}的图形变成{n}。", "将{r}的图形改为{n}。"),
    "drop": ("让{c}{s}落到地面上。", "把{c}{s}放到地面上。"),
}


def thing(kind: int, placing: int) -> int:
    """Number of a shape of a colour, at its place in the cell and of its size, among what a cell can hold."""
    return placing * (KINDS - 1) + kind if kind else 0


def kind_of(thing: int) -> int:
    """What a cell holds, whatever its place and size: 0 nothing, else 1 + shape * 8 + colour."""
    return 1 + (thing - 1) % (KINDS - 1) if thing else 0


def placing_of(thing: int) -> int:
    """Index in PLACINGS of what a cell holds; NONE for an empty one."""
    return (thing - 1) // (KINDS - 1) if thing else NONE


def shape_of(thing: int) -> int:
    """Index in SHAPES of what a cell holds; NONE for an empty one."""
    return (kind_of(thing) - 1) // len(COLOURS) if thing else NONE


def colour_of(thing: int) -> int:
    """Index in COLOURS of what a cell holds; NONE for an empty one."""
    return (kind_of(thing) - 1) % len(COLOURS) if thing else NONE


def coloured(thing: int, colour: int) -> int:
    """The same shape at the same place in another colour."""
    return thing - colour_of(thing) + colour


def placings(held_out: bool | None) -> list[int]:
    """Places and sizes: one in five is held out, so that each lies between ones that are not; None: all."""
    return [
        number
        for number, (size, right, down) in enumerate(PLACINGS)
        if held_out is None or ((size + right + 2 * down) % len(SHIFTS) == 0) == held_out
    ]


@dataclass(frozen=True)
class Scene:
    """What a picture shows.

    Attributes:
        background: Index in BACKGROUNDS.
        cells: What each of the 16 cells holds, row by row, as `thing` numbers it.
    """

    background: int
    cells: tuple[int, ...]

    def objects(self) -> list[int]:
        """Cells that hold something."""
        return [cell for cell, thing in enumerate(self.cells) if thing]

    def kinds(self) -> list[int]:
        """What each of the cells holds, whatever its place and size."""
        return [kind_of(thing) for thing in self.cells]

    def replaced(self, changes: dict[int, int]) -> "Scene":
        """The scene with some cells holding something else."""
        return Scene(self.background, tuple(changes.get(cell, thing) for cell, thing in enumerate(self.cells)))


@dataclass(frozen=True)
class SceneEdit:
    """One instruction for a scene and its outcome.

    Attributes:
        source, target: The scene before and after.
        family: Index in FAMILIES.
        cell: Cell of the shape that is meant; NONE for a background.
        to: Cell where it goes; NONE unless it moves.
        new: New colour, index in COLOURS; NONE unless it is coloured anew.
        word: Index in WAYS or SIDES; NONE where the instruction has no such word.
    """

    source: Scene
    target: Scene
    family: int
    cell: int = NONE
    to: int = NONE
    new: int = NONE
    word: int = NONE

    def held_out(self) -> bool:
        """Whether the combination is kept from training: about one in eight of every family."""
        if FAMILIES[self.family] == "background":
            return (self.source.background + 2 * self.target.background) % len(BACKGROUNDS) == 0
        shape, colour = shape_of(self.source.cells[self.cell]), colour_of(self.source.cells[self.cell])
        if FAMILIES[self.family] == "referential":
            return (2 * self.word + 3 * shape + self.new) % len(COLOURS) == 0
        return (self.family + 3 * shape + colour) % len(COLOURS) == 0

    def text(self, language: str, phrasing: int) -> str:
        """The instruction.

        Args:
            language: `en` or `zh`.
            phrasing: Which way to say it, any number from 0.
        """
        english = language == "en"
        family = FAMILIES[self.family]
        choices = (TEMPLATES if english else TEMPLATES_ZH)[family]
        words = _words(self, english)
        return choices[phrasing % len(choices)].format(**words)


def _words(edit: SceneEdit, english: bool) -> dict[str, str]:
    colours, shapes, backgrounds, sides, ways = (
        (COLOURS, SHAPES, BACKGROUNDS, SIDES, WAYS)
        if english
        else (COLOURS_ZH, SHAPES_ZH, BACKGROUNDS_ZH, SIDES_ZH, WAYS_ZH)
    )
    words = {"b": backgrounds[edit.target.background]}
    if edit.cell != NONE:
        meant = edit.source.cells[edit.cell]
        words |= {"c": colours[colour_of(meant)], "s": shapes[shape_of(meant)]}
    if edit.new != NONE:
        words["n"] = colours[edit.new]
    if edit.word != NONE:
        words |= {"w": ways[edit.word], "r": sides[edit.word]}
    return words


def describe(scene: Scene, language: str) -> str:
    """Say what a scene shows, shapes in the order of their cells."""
    things = [scene.cells[cell] for cell in scene.objects()]
    if language == "en":
        named = [f"{COLOURS[colour_of(one)]} {SHAPES[shape_of(one)]}" for one in things]
        shapes = ", ".join(f"{'an' if name[0] == 'o' else 'a'} {name}" for name in named) or "nothing"
        return f"On {BACKGROUNDS[scene.background]}: {shapes}."
    shapes = "、".join(COLOURS_ZH[colour_of(one)] + SHAPES_ZH[shape_of(one)] for one in things) or "空"
    return f"{BACKGROUNDS_ZH[scene.background]}背景：{shapes}。"


@dataclass
class SceneSampler:
    """Draws scenes and edits.

    Attributes:
        rng: Source of all that is random.
        held_out: True: only held-out combinations, places and sizes; False: only the others; None: all.
    """

    rng: np.random.Generator
    held_out: bool | None = False
    families: tuple[str, ...] = field(default=FAMILIES)
    placings: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.placings = placings(self.held_out)

    def thing(self, kind: int) -> int:
        """A shape of a colour, at a place and of a size drawn at random."""
        return thing(kind, self.placings[int(self.rng.integers(len(self.placings)))])

    def scene(self, least: int = 1) -> Scene:
        """A scene of `least` to 3 shapes, no two of them alike."""
        count = int(self.rng.integers(least, 4))
        cells = [0] * CELLS
        places = self.rng.permutation(CELLS)[:count]
        for place, what in zip(places, self.rng.permutation(KINDS - 1)[:count], strict=True):
            cells[place] = self.thing(int(what) + 1)
        return Scene(int(self.rng.integers(len(BACKGROUNDS))), tuple(cells))

    def edit(self, family: str | None = None) -> SceneEdit:
        """An edit of a family, of any by default, for a scene where it is possible and plain what is meant."""
        family = family or self.families[int(self.rng.integers(len(self.families)))]
        while True:
            edit = self.edit_of(self.scene(2 if family == "referential" else 1), family)
            if edit is not None and (self.held_out is None or edit.held_out() == self.held_out):
                return edit

    def edit_of(self, scene: Scene, family: str) -> SceneEdit | None:
        """An edit of a family for a scene; None where the one drawn is impossible."""
        index = FAMILIES.index(family)
        if family == "background":
            new = (scene.background + 1 + int(self.rng.integers(len(BACKGROUNDS) - 1))) % len(BACKGROUNDS)
            return SceneEdit(scene, Scene(new, scene.cells), index)
        word = int(self.rng.integers(4)) if family in ("move", "referential") else NONE
        cell = extreme(scene, word) if family == "referential" else int(self.rng.choice(scene.objects()))
        if cell is None:
            return None
        meant = scene.cells[cell]
        if family == "remove":
            return SceneEdit(scene, scene.replaced({cell: 0}), index, cell)
        if family in ("move", "drop"):
            to = beside(cell, word) if family == "move" else floor_below(cell)
            if to is None or scene.cells[to]:
                return None
            return SceneEdit(scene, scene.replaced({cell: 0, to: meant}), index, cell, to, word=word)
        new = (colour_of(meant) + 1 + int(self.rng.integers(len(COLOURS) - 1))) % len(COLOURS)
        target = scene.replaced({cell: coloured(meant, new)})
        alike = len(set(target.kinds()) - {0}) < len(target.objects())
        return None if alike else SceneEdit(scene, target, index, cell, new=new, word=word)


def extreme(scene: Scene, side: int) -> int | None:
    """The cell of the leftmost, rightmost, topmost or bottommost shape; None if two share that place."""
    places = {cell: (cell % SIZE if side < 2 else cell // SIZE) * (-1 if side % 2 else 1) for cell in scene.objects()}
    least = min(places.values())
    found = [cell for cell, place in places.items() if place == least]
    return found[0] if len(found) == 1 else None


def beside(cell: int, way: int) -> int | None:
    """The cell one step away; None at the edge."""
    row, column = cell // SIZE + STEPS[way][0], cell % SIZE + STEPS[way][1]
    return row * SIZE + column if 0 <= row < SIZE and 0 <= column < SIZE else None


def floor_below(cell: int) -> int | None:
    """The cell on the floor below; None for a shape that stands there already."""
    return None if cell // SIZE == SIZE - 1 else CELLS - SIZE + cell % SIZE
