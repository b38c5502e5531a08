"""What the step programs share: one subject a module. Nothing here knows of Snakemake."""
