from __future__ import annotations

from django.http import HttpRequest
from django.urls import include, path
from rest_framework.authentication import BasicAuthentication
from rest_framework.authtoken.views import obtain_auth_token
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_simplejwt.views import TokenObtainPairView

from crossauth_django.limits import RateLimit
from crossauth_django.throttling import RateLimitThrottle


class WhoAmI(APIView):
    authentication_classes = [BasicAuthentication]
    permission_classes = [IsAuthenticated]

    def get(self, request: HttpRequest) -> Response:
        return Response({"user": request.user.get_username()})


class Twice(RateLimitThrottle):
    action = "twice"
    rate_limit = RateLimit(2, 60)


class Register(RateLimitThrottle):
    action = "register"


class Throttled(APIView):
    authentication_classes: list[type] = []
    throttle_classes = [Twice]

    def get(self, request: HttpRequest) -> Response:
        return Response({})


class Registration(Throttled):
    throttle_classes = [Register]


urlpatterns = [
    path("basic/", WhoAmI.as_view()),
    path("token/", obtain_auth_token),
    path("jwt/", TokenObtainPairView.as_view()),
    path("accounts/", include("allauth.urls")),
    path("throttled/", Throttled.as_view()),
    path("registration/", Registration.as_view()),
]
