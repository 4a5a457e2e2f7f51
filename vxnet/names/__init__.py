"""Names: who is called what, as gossip tells it, and what DNS answers about it."""
