"""Hostile inputs: nothing runs, nothing is followed, nothing is believed."""
