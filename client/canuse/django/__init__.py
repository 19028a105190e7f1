"""Views, requests and templates of Django that use features: `pip install 'canuse[django]'`.

Add `canuse.django` to `INSTALLED_APPS` for the template tag, and `canuse.django.middleware.CanuseMiddleware` to
`MIDDLEWARE` for `request.canuse`. Settings, all of them optional:

- `CANUSE_USER_ID`: the dotted path of a function that gets a request and returns the user's id, or None for nobody.
  Default: the primary key of `request.user` as a string.
- `CANUSE_DENIED_STATUS`: the status of a no: 402 (the default), 403 or 429.
"""

from canuse.django.clients import client
from canuse.django.views import require

__all__ = ["client", "require"]
