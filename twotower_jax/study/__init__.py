"""Studies: the runs of a sweep's folder compared as arms over seeds."""
