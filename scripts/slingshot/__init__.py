"""What the step programs share: one subject per module. Nothing here depends on Snakemake."""
