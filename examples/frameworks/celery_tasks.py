"""Emails in Celery: celery --app examples.frameworks.celery_tasks worker"""

from celery import Celery, Task

import canuse

app = Celery("emails", broker="memory://")
client = canuse.Client()  # each worker process connects with its first call
outbox: list[str] = []


@app.task(bind=True, acks_late=True, autoretry_for=(canuse.Unavailable, ConnectionError), max_retries=5)
def send_email(self: Task, user_id: str, text: str) -> str:
    """Send an email, which counts once, however often the task is delivered or retried.

    The id of the task is that of the use: a later delivery gets the stored answer, and nothing is recorded again.
    """
    answer = client.use_feature(user_id, "emails", event_id=f"email-{self.request.id}")
    if not answer:
        return str(answer.reason.name)
    if not text:
        raise ConnectionError("the mail server does not answer")
    outbox.append(text)
    return "sent"
