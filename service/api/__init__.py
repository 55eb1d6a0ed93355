"""The HTTP edge: routes, problems, OpenAPI. Nothing below this package knows a status code."""
