"""A finished run as a model that other programs can use: a folder of plain files.

``twotower export`` writes the folder, ``load_model`` reads it. Of a baseline it writes
lists, which ``load_lists`` reads.
"""
