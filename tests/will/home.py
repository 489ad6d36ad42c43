"""Where scripts/ensure-will puts the real Will bot."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".will" / "bin" / "python"
EXAMPLE = ROOT / "examples" / "will"
PROGRAMS = Path(__file__).parent / "programs"
