"""The resolver over HTTP."""
