"""The Container Network Model: networks, endpoints, sandboxes, addresses."""
