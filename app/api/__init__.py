"""HTTP only: routers, schemas, SSE, authentication, error handlers."""
