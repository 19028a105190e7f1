"""A web page that blocks on the front end, and the service behind it that blocks on the back end."""
