"""The API: one thin servicer per service, with validation and the error table. It knows no transport."""
