"""HTTP only: routes, identification, bodies, errors, streams."""
