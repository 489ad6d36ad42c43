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


def contract_of_the_page(place: Path, newer: str = ">") -> subprocess.CompletedProcess[str]:
    page = (ROOT / "docs" / "writing-a-tier.md").read_text()
    for name, fence in (("dict_tier.py", "python"), ("test_dict_tier.py", "python test_dict_tier.py")):
        (code,) = re.findall(rf"```{fence}\n(.*?)```", page, re.DOTALL)
        (place / name).write_text(code.replace("version_of(frame) >", f"version_of(frame) {newer}"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_dict_tier.py"]
    return subprocess.run(command, cwd=place, capture_output=True, text=True)


def test_the_tier_of_the_page_meets_the_contract(tmp_path: Path) -> None:
    result = contract_of_the_page(tmp_path)
    assert result.returncode == 0 and " passed" in result.stdout, result.stdout + result.stderr


def test_a_tier_that_does_not_meet_the_contract_is_shown_the_values(tmp_path: Path) -> None:
    result = contract_of_the_page(tmp_path, newer=">=")
    assert result.returncode == 1 and "assert True is False" in result.stdout, result.stdout + result.stderr


def test_the_tests_of_a_bot_run_as_pasted(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python test_my_bot.py\n(.*?)```", (ROOT / "docs" / "recipes.md").read_text(), re.DOTALL)
    (tmp_path / "test_my_bot.py").write_text(code)
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_bot.py"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0 and "4 passed" in result.stdout, result.stdout + result.stderr


def test_every_page_help_and_message_installs_an_extra_in_the_way_that_works() -> None:
    """From the sources: the package is in no index."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "tiered").rglob("*.py")]
    wrong = [str(path) for path in pages if re.search(r"install[^\n]*tiered\[", path.read_text())]
    assert wrong == []
