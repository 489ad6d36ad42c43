"""Every Python snippet of the README and of docs/ runs as pasted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SNIPPETS = [
    pytest.param(code, id=f"{page.name}-{number}")
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.parametrize("code", SNIPPETS)
def test_snippet_runs_as_pasted(code: str, tmp_path: Path) -> None:
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_tier_of_the_page_meets_the_contract(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "writing-a-tier.md").read_text()
    for name, fence in (("dict_tier.py", "python"), ("test_dict_tier.py", "python test_dict_tier.py")):
        (code,) = re.findall(rf"```{fence}\n(.*?)```", page, re.DOTALL)
        (tmp_path / name).write_text(code)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_dict_tier.py"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0 and " passed" in result.stdout, result.stdout + result.stderr
