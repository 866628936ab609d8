from __future__ import annotations

import struct
from pathlib import Path

import pytest
from django.template import TemplateDoesNotExist
from django.utils import translation

from crossauth_django.responses import please_wait, wants_json

PAGE = "crossauth_django/rate_limited.html"
POLISH = {
    "": "Content-Type: text/plain; charset=UTF-8\n"
    "Plural-Forms: nplurals=3; plural=n==1 ? 0 : n%10>=2 && n%10<=4 && "
    "(n%100<10 || n%100>=20) ? 1 : 2;\n",
    "Please try again in %(seconds)s second.\0Please try again in %(seconds)s seconds.": (
        "za %(seconds)s sekundę\0za %(seconds)s sekundy\0za %(seconds)s sekund"
    ),
    "Please try again in %(minutes)s minute.\0Please try again in %(minutes)s minutes.": (
        "za %(minutes)s minutę\0za %(minutes)s minuty\0za %(minutes)s minut"
    ),
}


def compile_to(file: Path, messages: dict[str, str]) -> None:
    """Write what ``msgfmt`` would, which is not installed everywhere (GNU's .mo format)."""
    texts = sorted(messages) + [messages[each] for each in sorted(messages)]
    end = 28 + 8 * len(texts)
    table, data = b"", b""
    for text in map(str.encode, texts):
        table += struct.pack("<II", len(text), end + len(data))
        data += text + b"\0"
    half = len(messages)
    head = struct.pack("<7I", 0x950412DE, 0, half, 28, 28 + 8 * half, 0, 0)
    file.parent.mkdir(parents=True)
    file.write_bytes(head + table + data)


@pytest.fixture
def polish(settings, tmp_path):
    compile_to(tmp_path / "pl" / "LC_MESSAGES" / "django.mo", POLISH)
    settings.LOCALE_PATHS = [tmp_path]
    with translation.override("pl"):
        yield


@pytest.mark.parametrize("page", ["locked_out", "rate_limited"])
@pytest.mark.parametrize(
    ("wait", "says"),
    [
        (1, "za 1 sekundę"),
        (3, "za 3 sekundy"),
        (119, "za 119 sekund"),
        (120, "za 2 minuty"),
        (241, "za 5 minut"),
        (3600, "za 60 minut"),
    ],
)
def test_a_wait_is_told_with_the_plurals_of_the_language(polish, rf, page, wait, says):
    template = f"crossauth_django/{page}.html"
    answer = please_wait(
        rf.get("/"), template, status=429, code="x", title="x", retry_after=wait
    )
    told = answer.content.decode().partition('role="alert">')[2].split("<")[0].strip()
    assert told == says
    assert '<html lang="pl"' in answer.content.decode()


@pytest.mark.parametrize(
    ("accept", "is_json"),
    [
        ("application/json; charset=utf-8", True),
        ("application/json;version=1.0", True),
        ("application/problem+json; q=0.9; a=b, text/html; q=0.1", True),
        ("text/html; level=1, application/json; q=0.5", False),
        ("application/json; version=1; q=0, text/html", False),
        ("text/html;q=0.1, */*", True),
        ("*", False),
    ],
)
def test_parameters_of_an_accepted_type_do_not_matter(rf, accept, is_json):
    assert wants_json(rf.get("/", headers={"Accept": accept})) is is_json


@pytest.mark.parametrize(
    "templates",
    [[], [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]],
)
def test_a_site_without_pages_answers_in_json(settings, rf, templates):
    settings.TEMPLATES = templates
    request = rf.get("/", headers={"Accept": "text/html"})
    answer = please_wait(
        request, PAGE, status=429, code="rate_limited", title="x", retry_after=7
    )
    assert (answer.status_code, answer["Retry-After"]) == (429, "7")
    assert answer["Content-Type"] == "application/problem+json; charset=utf-8"


def test_a_page_that_a_project_broke_is_no_page_that_is_missing(settings, rf, tmp_path):
    (tmp_path / "crossauth_django").mkdir()
    (tmp_path / PAGE).write_text("{% extends 'missing.html' %}")
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    with pytest.raises(TemplateDoesNotExist, match="missing"):
        please_wait(rf.get("/"), PAGE, status=429, code="x", title="x", retry_after=7)
