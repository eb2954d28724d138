"""Pages: what people see of an app, driven in a real browser, one profile an identity."""
