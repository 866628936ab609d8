"""The README names what exists, and nothing else."""

from __future__ import annotations

import ast
import builtins
import pkgutil
import re
import shlex
from pathlib import Path

import pytest

from crossauth_django import checks
from crossauth_django.conf import Conf
from crossauth_django.management import commands

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


# What stands around an example: a settings file, a URLconf, a request of somebody.
GIVEN = {"INSTALLED_APPS", "MIDDLEWARE", "urlpatterns", "request", "user"}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def rows(heading: str) -> list[str]:
    """The first cells of the table under ``heading``."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)`", section, re.M)


def test_the_settings_table_has_every_setting_in_the_order_of_conf() -> None:
    properties = [name for name, value in vars(Conf).items() if type(value) is property]
    assert rows("Settings") == properties


def test_the_checks_table_has_every_id_in_use() -> None:
    in_use = re.findall(r"^([EW]\d{3}) ", checks.__doc__, re.M)
    assert rows("Checks") == sorted(in_use)


def test_every_id_in_the_code_is_in_the_list_of_checks() -> None:
    source = "".join(
        file.read_text() for file in (ROOT / "crossauth_django").rglob("*.py")
    )
    used = set(re.findall(r"crossauth_django\.([EW]\d{3})", source))
    assert used == set(rows("Checks"))


def test_the_commands_table_has_every_command() -> None:
    found = [module.name for module in pkgutil.iter_modules(commands.__path__)]
    assert sorted(row.split()[0] for row in rows("Commands")) == sorted(found)


def test_the_two_commands_are_one_line_each_and_all_the_set_up() -> None:
    lines = re.findall(r"^python3 -m venv .+$", README, re.M)
    assert [line.rpartition(" ")[2] for line in lines] == ["demo", "pytest"]
    for line in lines:
        words = shlex.split(line)
        assert words[:4] == ["python3", "-m", "venv", ".venv"]
        assert words.count("&&") == 2


def test_every_link_leads_to_a_file() -> None:
    links = [
        link
        for link in re.findall(r"\]\(([^)]+)\)", README)
        if not link.startswith("http")
    ]
    assert links
    assert all((ROOT / link.partition("#")[0]).exists() for link in links)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_example_imports_what_it_uses_and_it_exists(page: Path) -> None:
    for code in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S):
        tree = ast.parse(code)
        nodes = list(ast.walk(tree))
        used = {each.id for each in nodes if isinstance(each, ast.Name)}
        made = {
            each.id
            for each in nodes
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
        }
        made |= {each.arg for each in nodes if isinstance(each, ast.arg)}
        imports = [n for n in nodes if isinstance(n, (ast.Import, ast.ImportFrom))]
        made |= {alias.asname or alias.name for n in imports for alias in n.names}
        assert used - made - GIVEN - set(vars(builtins)) == set()
        for each in imports:
            if isinstance(each, ast.ImportFrom) and "cross_auth" not in str(
                each.module
            ):
                exec(ast.unparse(each), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_that_is_named_exists(page: Path) -> None:
    named = set(re.findall(r"\bCROSSAUTH_[A-Z_]+\b", page.read_text()))
    assert {each for each in named if not hasattr(Conf, each)} == set()
