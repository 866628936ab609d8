from __future__ import annotations

from django.http import HttpRequest
from django.urls import include, path
from django.utils.decorators import method_decorator
from rest_framework.authentication import BasicAuthentication
from rest_framework.authtoken.views import obtain_auth_token
from rest_framework.decorators import api_view
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_simplejwt.views import TokenObtainPairView

from crossauth_django.limits import RateLimit, check, rate_limit
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


class Misspelt(Twice):
    key = "users"


class Misnamed(Throttled):
    throttle_classes = [Misspelt]


class Registration(Throttled):
    throttle_classes = [Register]


TWICE = RateLimit(2, 60)


class Checked(APIView):
    authentication_classes: list[type] = []

    def get(self, request: HttpRequest) -> Response:
        check("checked", request, limit=TWICE)
        return Response({})


class Method(APIView):
    authentication_classes: list[type] = []

    @method_decorator(rate_limit("method", TWICE, key="user_or_ip"))
    def get(self, request: HttpRequest) -> Response:
        return Response({})


@api_view(["GET"])
@rate_limit("function", TWICE)
def function(request: HttpRequest) -> Response:
    return Response({})


urlpatterns = [
    path("basic/", WhoAmI.as_view()),
    path("token/", obtain_auth_token),
    path("jwt/", TokenObtainPairView.as_view()),
    path("accounts/", include("allauth.urls")),
    path("throttled/", Throttled.as_view()),
    path("registration/", Registration.as_view()),
    path("misspelt/", Misnamed.as_view()),
    path("checked/", Checked.as_view()),
    path("method/", Method.as_view()),
    path("function/", function),
]
