"""The example's pages, and the ones that crossauth_django brings."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.urls import include, path

from example_project import views

urlpatterns = [
    path("", views.HomeView.as_view(), name="home"),
    path("sign-in/", views.SignInView.as_view(), name="sign_in"),
    path("sign-out/", LogoutView.as_view(), name="sign_out"),
    path("account/", views.AccountView.as_view(), name="account"),
    path(
        "account/devices/others/end/",
        views.EndOtherDevicesView.as_view(),
        name="end_other_devices",
    ),
    path(
        "account/devices/<handle>/end/",
        views.EndDeviceView.as_view(),
        name="end_device",
    ),
    path("auth/", include("crossauth_django.urls")),
    path("admin/", admin.site.urls),
]
