"""Short-lived state over one ``CACHES`` alias."""
