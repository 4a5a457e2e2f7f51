"""Who has which MAC and where: the control planes."""
