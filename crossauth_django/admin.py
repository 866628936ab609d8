"""What staff may see and end; no secret is shown, and nothing is typed in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db import models
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from crossauth_django.models import UserSession

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[UserSession]
else:
    _ModelAdmin = admin.ModelAdmin


@admin.register(UserSession)
class UserSessionAdmin(_ModelAdmin):
    """Lists who is signed in from where, and ends sessions."""

    fields = (
        *("user", "kind", "client_name", "user_agent", "ip", "created_at"),
        *("last_active_at", "expires_at", "revoked_at", "end_reason"),
    )
    readonly_fields = fields
    list_display = ("user", "kind", "ip", "created_at", "last_active_at", "state")
    list_filter = ("kind", "end_reason")
    list_select_related = ("user",)
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

    @admin.action(description=_("End the selected sessions"))
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

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[UserSession]:
        # The data are long, and nobody's business.
        rows: models.QuerySet[UserSession] = super().get_queryset(request)
        return rows.defer("data")

    def delete_model(self, request: HttpRequest, row: UserSession) -> None:
        """Delete it by the query that forgets the copy, too."""
        UserSession.objects.filter(pk=row.pk).delete()
