"""The stages: each reads a typed request, calls the layers below, returns a typed result."""
