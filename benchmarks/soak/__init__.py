"""The long run: mixed traffic while everything around it changes, and what it leaves behind."""
