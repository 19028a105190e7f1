"""The pages, one module each: `read` answers a GET, `write` a form."""
