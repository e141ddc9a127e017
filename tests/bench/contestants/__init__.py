"""Who is measured: each function takes a workload and makes one run ready.  They live in the workers' processes."""
