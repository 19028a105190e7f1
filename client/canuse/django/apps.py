"""The application for `INSTALLED_APPS`."""

from django.apps import AppConfig


class CanuseConfig(AppConfig):
    """It has the template tags, and no models."""

    name = "canuse.django"
    label = "canuse"
    verbose_name = "canuse"
