"""The ceremonies, one module a way in; `IdentityService` is all of them together."""
