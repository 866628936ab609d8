"""Renders and sends mail: the only caller of ``django.core.mail``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.mail import EmailMultiAlternatives
from django.template import TemplateDoesNotExist
from django.template.loader import get_template, render_to_string


def send(kind: str, to: str, context: Mapping[str, Any]) -> None:
    """Send one mail from the templates ``crossauth_django/email/<kind>_subject.txt`` and ``.txt``.

    A ``.html`` beside them is added as the other form. Raise ``OSError`` (which ``SMTPException``
    is) when the mail server refuses or cannot be reached.
    """
    name = f"crossauth_django/email/{kind}"
    values = dict(context)
    # A line break in a subject would begin another header.
    subject = " ".join(render_to_string(f"{name}_subject.txt", values).split())
    message = EmailMultiAlternatives(
        subject, render_to_string(f"{name}.txt", values), to=[to]
    )
    if html := _html_form(name):
        # One that it includes may be missing too, and that is a mistake to hear of.
        message.attach_alternative(html.render(values), "text/html")
    message.send()


def _html_form(name: str) -> Any | None:
    try:
        return get_template(f"{name}.html")
    except TemplateDoesNotExist:
        return None  # Plain text alone is the default.
