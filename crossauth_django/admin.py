"""What staff may see and end; no secret is shown, and nothing is typed in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.auth import admin as auth_admin
from django.contrib.auth import forms as auth_forms
from django.contrib.auth import get_user_model
from django.db import models
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from crossauth_django.fields import utc_now
from crossauth_django.managers.endings import of_status
from crossauth_django.models import SocialAccount, User, UserSession

if TYPE_CHECKING:
    _AnyAdmin = admin.ModelAdmin[Any]
    _UserAdmin = auth_admin.UserAdmin[User]
    _UserCreationForm = auth_forms.AdminUserCreationForm[User]
else:
    _AnyAdmin = admin.ModelAdmin
    _UserAdmin = auth_admin.UserAdmin
    _UserCreationForm = auth_forms.AdminUserCreationForm


class _Shown(_AnyAdmin):
    """A page where nothing is typed in has nothing to save."""

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        hidden = {"show_save": False, "show_save_and_continue": False}
        context = {**hidden, **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, context)


class StateFilter(admin.SimpleListFilter):
    """What a session is at this moment, which not every end writes into its row."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("active", _("active")),
            ("expired", _("expired")),
            ("revoked", _("ended")),
        ]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        status = self.value() or ""
        if status not in (each for each, _name in self.lookup_choices):
            return queryset
        return queryset.filter(of_status(status, utc_now()))


@admin.register(UserSession)
class UserSessionAdmin(_Shown):
    """Lists who is signed in from where, and ends sessions."""

    fields = (
        *("user", "kind", "client_name", "user_agent", "ip", "created_at"),
        *("last_active_at", "expires_at", "revoked_at", "end_reason"),
    )
    readonly_fields = fields
    list_display = ("user", "kind", "ip", "created_at", "last_active_at", "state")
    list_filter = (StateFilter, "kind")
    list_select_related = ("user",)
    search_fields = ("^ip", "=end_reason", "=met_reason")
    search_help_text = _("A user, the beginning of an address, or an end reason.")
    # Counting a large table takes longer than showing a page of it.
    show_full_result_count = False
    ordering = ("-created_at",)
    actions = ("end_sessions",)

    @admin.display(description=_("state"))
    def state(self, row: UserSession) -> str:
        """The status, and the reason after the end."""
        names = {
            "active": _("active"),
            "expired": _("expired"),
            "revoked": _("ended: %s") % row.end_reason,
        }
        return str(names[row.status])

    # Without permissions= also who may only look could end them.
    @admin.action(description=_("End the selected sessions"), permissions=["change"])
    def end_sessions(
        self, request: HttpRequest, rows: models.QuerySet[UserSession]
    ) -> None:
        """End them on every worker at their next request."""
        # Keys first: MySQL changes no table that the same statement reads.
        keys = list(rows.values_list("pk", flat=True))
        ended = UserSession.objects.filter(pk__in=keys)
        count = ended.end("manual_termination")
        text = ngettext("%d session was ended.", "%d sessions were ended.", count)
        self.message_user(request, text % count, messages.SUCCESS)

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        return [*self.search_fields, *_names_of_users()]

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[UserSession]:
        # The data are long, and nobody's business.
        rows = super().get_queryset(request)
        shown: models.QuerySet[UserSession] = rows.defer("data")
        return shown

    def delete_model(self, request: HttpRequest, row: UserSession) -> None:
        """Delete it by the query that forgets the copy, too."""
        UserSession.objects.filter(pk=row.pk).delete()


@admin.register(SocialAccount)
class SocialAccountAdmin(_Shown):
    """Shows who owns which provider identity. Tokens are not among the fields."""

    fields = (
        *("user", "provider", "provider_user_id", "provider_email"),
        *("provider_email_verified", "is_login_method", "scope", "has_tokens"),
        *("access_token_expires_at", "refresh_token_expires_at", "user_info"),
        *("created_at", "updated_at"),
    )
    readonly_fields = fields
    list_display = ("provider", "provider_user_id", "user", "is_login_method")
    list_filter = ("provider", "is_login_method")
    list_select_related = ("user",)
    search_fields = ("provider_user_id", "provider_email")
    show_full_result_count = False
    ordering = ("-created_at",)

    @admin.display(description=_("tokens are stored"), boolean=True)
    def has_tokens(self, account: SocialAccount) -> bool:
        """Say so without opening them, nor loading them."""
        kept = models.Q(access_token__isnull=False) | models.Q(
            refresh_token__isnull=False
        )
        found: bool = SocialAccount.objects.filter(kept, pk=account.pk).exists()
        return found

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[SocialAccount]:
        accounts = super().get_queryset(request)
        shown: models.QuerySet[SocialAccount]
        shown = accounts.defer("access_token", "refresh_token")
        return shown

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        return [*self.search_fields, *_names_of_users()]


class UserCreationForm(_UserCreationForm):
    """Asks for the address instead of a username."""

    class Meta:
        model = User
        fields = ("email",)


class UserAdmin(_UserAdmin):
    """For ``User`` and for models made from ``AbstractUser``."""

    add_form = UserCreationForm
    add_fieldsets = (
        (None, {"fields": ("email", "usable_password", "password1", "password2")}),
    )
    fieldsets = (
        (None, {"fields": ("email", "is_verified", "password")}),
        (_("Personal info"), {"fields": ("first_name", "last_name")}),
        (
            _("Permissions"),
            {
                "fields": (
                    *("is_active", "is_staff", "is_superuser"),
                    *("groups", "user_permissions"),
                )
            },
        ),
        (_("Important dates"), {"fields": ("last_login", "date_joined")}),
    )
    readonly_fields = ("is_verified",)
    list_display = ("email", "first_name", "last_name", "is_staff")
    search_fields = ("email", "first_name", "last_name")
    ordering = ("email",)

    @admin.display(description=_("address is verified"), boolean=True)
    def is_verified(self, user: User) -> bool:
        """Say whether the current address is the one that was verified."""
        return user.email_verified


def _names_of_users() -> list[str]:
    model = get_user_model()
    columns = {field.name for field in model._meta.concrete_fields}
    names = {model.USERNAME_FIELD, model.get_email_field_name()}
    return [f"user__{name}" for name in sorted(names & columns)]


if not User._meta.swapped:
    admin.site.register(User, UserAdmin)
