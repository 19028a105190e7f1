"""Reports in Django, in one file: python -m examples.frameworks.django_site runserver"""

import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import path

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["canuse.django"],
    MIDDLEWARE=["canuse.django.middleware.CanuseMiddleware"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    CANUSE_USER_ID=f"{__name__}.signed_in_user",  # not needed with django.contrib.auth
)
from canuse.django import require  # noqa: E402 - settings come first

PAGE = '{% load canuse %}{% if_can_use "reports" %}<button>Create</button>{% else %}Upgrade{% endif_can_use %}'


def signed_in_user(request: HttpRequest) -> str | None:
    return request.headers.get("Authorization", "").removeprefix("Bearer ") or None


@require("reports")
def create_report(request: HttpRequest) -> HttpResponse:
    return HttpResponse("created", status=201 if request.GET.get("title") else 422)


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(engines["django"].from_string(PAGE).render(request=request))


urlpatterns = [path("reports", create_report), path("", page)]
if __name__ == "__main__":
    execute_from_command_line(sys.argv)
