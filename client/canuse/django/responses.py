"""Responses to requests that are denied, or cannot be decided."""

from django.conf import settings
from django.http import HttpResponseBase, JsonResponse

from canuse import AccessDenied, CanuseError
from canuse.http import answer_headers, denied_status, error_headers


def response_to(error: AccessDenied | CanuseError, status: int | None = None) -> HttpResponseBase:
    """Return the response to AccessDenied, or to an error of `NO_ANSWER`.

    The default of `status` is the setting CANUSE_DENIED_STATUS, otherwise 402.
    """
    if isinstance(error, AccessDenied):
        code = denied_status(getattr(settings, "CANUSE_DENIED_STATUS", 402) if status is None else status)
        return JsonResponse({"detail": str(error)}, status=code, headers=answer_headers(error.answer))
    detail = "This service is unavailable at the moment. Please try again."
    return JsonResponse({"detail": detail}, status=503, headers=error_headers(error))
