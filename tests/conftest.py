"""Hypothesis without its clock: on a busy machine a slow example is no fault."""

from hypothesis import settings

settings.register_profile("slingshot", deadline=None)
settings.load_profile("slingshot")
