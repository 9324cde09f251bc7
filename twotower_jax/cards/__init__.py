"""Cards of arms: the optimum that an arm's samples, corrections and loss have.

A small world has known click probabilities. Free scores, one per type of user and item,
take the place of the towers, so that the optimum of the objective is limited by nothing
else and can be compared with the log of the probabilities.
"""
