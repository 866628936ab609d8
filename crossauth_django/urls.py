"""``path("auth/", include("crossauth_django.urls"))``."""

from __future__ import annotations

from django.urls import path

from crossauth_django import views

app_name = "crossauth"

urlpatterns = [
    path("unlock/<str:token>/", views.unlock, name="unlock"),
    path("oauth/<slug:provider>/login/", views.oauth_login, name="oauth_login"),
    path(
        "oauth/<slug:provider>/callback/", views.oauth_callback, name="oauth_callback"
    ),
]
