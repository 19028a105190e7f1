"""Middleware for sync and async views."""

from django.http import HttpRequest, HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

from canuse import AccessDenied
from canuse.django.clients import client
from canuse.django.responses import response_to
from canuse.http import NO_ANSWER


class CanuseMiddleware(MiddlewareMixin):
    """Makes the client `request.canuse`, and answers requests whose view was denied a feature.

    AccessDenied becomes the status that CANUSE_DENIED_STATUS says, with its sentence as `detail` in JSON. Unavailable,
    DeadlineExceeded and Overloaded become 503.
    """

    def process_request(self, request: HttpRequest) -> None:
        """Set `request.canuse`."""
        request.canuse = client()  # type: ignore[attr-defined]  # it is this attribute that the middleware adds

    def process_exception(self, _request: HttpRequest, error: Exception) -> HttpResponseBase | None:
        """Return the response to an error of canuse."""
        return response_to(error) if isinstance(error, (AccessDenied, *NO_ANSWER)) else None
