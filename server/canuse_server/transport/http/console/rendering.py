"""The templates of the pages. What they show is escaped, and a value that is missing is an error."""

from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from canuse.v1.reason_pb2 import Reason
from canuse_server.runtime.thread_pauses import pause_if_due
from canuse_server.transport.http.console import shown, words
from canuse_server.transport.http.console.actions.notices import notice
from canuse_server.transport.http.console.addresses import HOME, address
from canuse_server.transport.http.console.assets import versioned
from canuse_server.transport.http.console.bars import chart, usage_bar
from canuse_server.transport.http.console.commands import commands
from canuse_server.transport.http.console.navigation import navigation
from canuse_server.transport.http.console.visit import View, Visit

_HTTPS: Final = "https"


class Templates:
    """All templates."""

    def __init__(self) -> None:
        self._env = Environment(
            loader=PackageLoader("canuse_server.transport.http.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._env.filters |= {
            "number": shown.number,
            "date": shown.date,
            "date_time": shown.date_time,
            "iso": shown.iso,
            "duration": shown.duration,
            "seconds": shown.seconds_of,
            "until": shown.until,
            "reason": words.reason_words,
            "status": words.status_words,
            "feature_type": words.feature_type_words,
            "package_type": words.package_type_words,
            "package_status": words.package_status_words,
            "catalog_action": words.catalog_action_words,
            "on_unavailable": words.on_unavailable_words,
            "key_environment": words.environment_words,
        }
        self._env.globals |= {
            "address": address,
            "notice": notice,
            "assets": versioned(f"{HOME}/assets"),
            "bar": usage_bar,
            "chart": chart,
            "entry_words": words.entry_words,
            "given_words": words.given_words,
            "is_yes": lambda reason: reason < Reason.REASON_NOT_ENTITLED,
        }

        for name in self._env.list_templates(extensions=("html",)):
            self._env.get_template(name)

    def render(self, visit: Visit, view: View) -> str:
        """Return a page."""
        caller, url = visit.visitor.caller, visit.request.url
        principal = None if caller is None else caller.principal
        secure, with_key = url.scheme == _HTTPS, principal is not None
        base = f"{url.scheme}://{url.netloc}"
        values: dict[str, Any] = {
            "visit": visit,
            "now_ms": visit.now_ms,
            "here": url.path + (f"?{url.query}" if url.query else ""),
            "environment": None if caller is None else caller.env.environment,
            "key_id": principal.key_id if principal else None,
            "form_token": visit.visitor.form_token,
            "navigation": navigation(visit),
            "may": visit.may,
            "error": None,
            "commands": [
                commands(made, visit.site.host.grpc_address(), base, with_key=with_key, secure=secure)
                for made in visit.call.made
            ],
        }
        parts: list[str] = []
        for part in self._env.get_template(view.template).generate(values | view.values):
            parts.append(part)
            pause_if_due()
        return "".join(parts)
