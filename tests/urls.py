from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template import RequestContext, Template
from django.urls import URLPattern, URLResolver, include, path


def sign_in_page(request: HttpRequest) -> HttpResponse:
    template = Template("{% load crossauth %}{% crossauth_providers %}")
    return HttpResponse(template.render(RequestContext(request)))


urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", admin.site.urls),
    path("auth/", include("crossauth_django.urls")),
    path("test/sign-in/", sign_in_page, name="sign_in_page"),
]
