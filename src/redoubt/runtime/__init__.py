"""Binds the domains to an ASGI app: middleware, permissions, migrations, processes."""
