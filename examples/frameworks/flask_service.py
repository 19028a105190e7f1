"""Reports in Flask: flask --app examples.frameworks.flask_service run"""

from flask import Flask, abort, request

import canuse
from canuse.http import NO_ANSWER, answer_headers, error_headers

app = Flask(__name__)
client = canuse.Client()  # by CANUSE_SERVER and CANUSE_API_KEY


@app.errorhandler(canuse.AccessDenied)
def denied(error: canuse.AccessDenied) -> tuple[dict[str, str], int, dict[str, str]]:
    return {"detail": str(error)}, 402, answer_headers(error.answer)


def no_answer(error: canuse.CanuseError) -> tuple[dict[str, str], int, dict[str, str]]:
    return {"detail": "Please try again in a moment."}, 503, error_headers(error)


for kind in NO_ANSWER:
    app.register_error_handler(kind, no_answer)


@app.post("/reports")
@client.limited("reports", user=lambda: request.headers["X-User"])
def create_report() -> tuple[str, int]:
    """Create a report, which counts only if it is created: abort raises an exception."""
    return request.args.get("title") or abort(422), 201
