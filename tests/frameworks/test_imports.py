"""The client pulls in no framework."""

import subprocess
import sys

FRAMEWORKS = ("celery", "django", "fastapi", "flask", "starlette")
CODE = f"""
import sys
import canuse, canuse.http, canuse.interceptors, canuse.testing
print(sorted(set(sys.modules) & {set(FRAMEWORKS)}))
import canuse.starlette
print(sorted(set(sys.modules) & {set(FRAMEWORKS)}))
"""


def test_only_the_modules_for_a_framework_import_it() -> None:
    completed = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False, timeout=120)
    assert completed.stdout.splitlines() == ["[]", "['starlette']"], completed.stderr
