"""Reports in FastAPI: uvicorn examples.frameworks.fastapi_service:app"""

from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException

from canuse import AsyncClient, Use
from canuse.fastapi import handle_errors, require

app = FastAPI()
app.state.canuse = AsyncClient()  # by CANUSE_SERVER and CANUSE_API_KEY
handle_errors(app, status=402)


def signed_in_user(authorization: Annotated[str, Header()]) -> str:
    """Return the user's id: here the token itself, in a real service what the login says."""
    return authorization.removeprefix("Bearer ")


ReportUse = Annotated[Use, Depends(require("reports", user=signed_in_user, feature_name="reports"))]


@app.post("/reports", status_code=201)
async def create_report(title: str, use: ReportUse) -> str:
    """Create a report, which counts only if it is created."""
    if not title:
        raise HTTPException(422, "A report needs a title.")
    return f"# {title}, by {use.event_id}"


@app.get("/search", dependencies=[Depends(require("searches", user=signed_in_user, record="before", status=429))])
async def search(text: str) -> list[str]:
    """Search, which counts even if it finds nothing."""
    return [title for title in ("Costs", "Sales") if text in title]
