"""A log, a comparison of arms and its tables, for notebooks.

``read_log`` and ``compare`` do by Python what ``twotower data check`` and ``twotower
train -m`` do on the command line, and by the same code.
"""
