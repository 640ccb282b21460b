"""A search for requests that reach an application behind a proxy although its access rules forbid it."""
