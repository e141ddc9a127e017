"""``--svg FILE``: the ladder once more, as a picture that loads nothing."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.terminal_theme import TerminalTheme

from .ladder import WIDE, Ladder, make_console
from .parser import invalid, reason
from .terminal import complain
from .trace import Outcome

COLUMNS: Final = 80
"""Of the picture, where it is not made at a terminal, which has its own."""
ROWS: Final = 25
"""Of no importance: the picture is as high as the ladder is long."""

THEME: Final = TerminalTheme(
    (24, 26, 31),
    (220, 223, 228),
    [
        (40, 44, 52),
        (235, 120, 128),
        (152, 195, 121),
        (229, 192, 123),
        (97, 175, 239),
        (209, 148, 229),
        (92, 196, 209),
        (220, 223, 228),
    ],
)
"""Colours that keep their distance from the background, the dim ones too."""

FORMAT: Final = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, "DejaVu Sans Mono", "Liberation Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px;
  line-height: {line_height}px;
}}
.{unique_id}-title {{ font-family: system-ui, sans-serif; font-size: 18px; font-weight: bold; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""Where rich puts its parts.  It has its own background, so that it can be read in light and in dark surroundings."""


class Picture:
    """What is printed on its console becomes a picture in a file."""

    def __init__(self, file: Path, title: str) -> None:
        """Raises `ConnectFailed` (INVALID_ARGUMENT) where the file cannot be written."""
        try:
            file.open("ab").close()  # better now than when the session is over
        except (OSError, ValueError) as error:
            raise invalid(f"cannot write the picture to {file}: {reason(error)}") from None
        self._file = file
        self._title = title
        shown = make_console().width
        self.console: Final[Console] = Console(
            file=io.StringIO(),
            record=True,
            force_terminal=True,
            color_system="truecolor",
            no_color=False,
            width=COLUMNS if shown == WIDE else shown,
            height=ROWS,
            legacy_windows=False,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def save(self) -> None:
        """Write it."""
        svg = self.console.export_svg(title=self._title, theme=THEME, code_format=FORMAT, unique_id="ladder")
        try:
            self._file.write_text(
                "".join(f"{line.rstrip()}\n" for line in svg.split("\n") if line.strip()), encoding="utf-8"
            )
        except OSError as error:
            complain(f"cannot write the picture to {self._file}: {reason(error)}")


class PictureLadder(Ladder):
    """A ladder in a picture, which is written when the session has come to its end."""

    def __init__(self, picture: Picture) -> None:
        super().__init__(picture.console)
        self._picture = picture

    def outcome(self, outcome: Outcome) -> None:
        """The last that is shown."""
        super().outcome(outcome)
        self._picture.save()
